"""Write the logs of this folder with Inspect itself, whose mock model answers what it is told: no network, no key.

    pip install inspect-ai==0.3.285 && python make.py

Two models answer four items with choices, twice each, and three sums by two scorers. Inspect counts tokens with an
encoding that it fetches; words are counted in its place.
"""

import random
from pathlib import Path

import tiktoken


class Words:
    """Counts words."""

    def encode(self, text, **told):
        """Return the words of a text."""
        del told
        return text.split()


tiktoken.get_encoding = tiktoken.encoding_for_model = lambda _: Words()

from inspect_ai import Task, eval  # noqa: A004, E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.model import GenerateConfig, ModelOutput, get_model  # noqa: E402
from inspect_ai.scorer import choice, includes, match  # noqa: E402
from inspect_ai.solver import generate, multiple_choice  # noqa: E402

HERE = Path(__file__).parent


def colors(*, temperature=None, template=None, first="red"):
    """Items with choices, asked twice."""
    samples = [
        Sample(
            id=f"q{i}",
            input=f"Question {i}?",
            choices=[first, "green", "blue"],
            target="ABC"[i % 3],
            metadata={"topic": "ab"[i % 2]},
        )
        for i in range(4)
    ]
    config = GenerateConfig(temperature=temperature)
    solver = multiple_choice(**({"template": template} if template else {}))
    return Task(
        dataset=MemoryDataset(samples, name="colors"),
        solver=solver,
        scorer=choice(),
        name="colors",
        epochs=2,
        config=config,
    )


def sums():
    """Free answers, under two scorers."""
    samples = [Sample(id=i + 1, input=f"What is {i}+1?", target=str(i + 1)) for i in range(3)]
    return Task(
        dataset=MemoryDataset(samples, name="sums"), solver=generate(), scorer=[match(), includes()], name="sums"
    )


def answers(kind, seed):
    """What the mock model says, in the order in which it is asked."""
    rng = random.Random(seed)
    if kind == "colors":
        return [f"ANSWER: {'ABC'[k % 4 % 3] if rng.random() < 0.7 else 'C'}" for k in range(8)]
    return [f"I say {k + 1} now" if rng.random() < 0.5 else str(k + 1) for k in range(3)]


def write(name, task, said):
    """Run a task and keep its log under a name."""
    told = [ModelOutput.from_content("mockllm/model", text) for text in said]
    (log,) = eval(
        task,
        model=get_model("mockllm/model", custom_outputs=told),
        log_dir=str(HERE / "made"),
        display="none",
        max_samples=1,
        max_connections=1,
    )
    assert log.status == "success", log.error
    Path(log.location.removeprefix("file://")).rename(HERE / f"{name}.eval")
    (HERE / "made").rmdir()


if __name__ == "__main__":
    write("colors_base", colors(), answers("colors", 0))
    write("colors_small", colors(), answers("colors", 3))
    write("colors_warm", colors(temperature=0.7), answers("colors", 3))
    write("colors_template", colors(template="{question}\n{choices}\n{letters}"), answers("colors", 3))
    write("colors_items", colors(first="pink"), answers("colors", 3))
    write("sums_base", sums(), answers("sums", 1))
    write("sums_small", sums(), answers("sums", 2))
