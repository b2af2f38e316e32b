"""Write the texts of the study `language`: what stories260K tells, and questions made of it. No text of anybody's.

    WHATELSE_DATA=... python bench/stories.py

Documents and the text to calibrate on are drawn from the model itself at temperature 1, so that what a compressed
model loses of likelihood on them is what it diverges by. Items ask which of four sentences goes on a story: one did,
the others stand in other stories. Pairs are minimal ones, of sentences with and without a fault of grammar, and ones
that differ in whom they speak of, a girl or a boy, before what tradition says of one of them. What is written is the
same on every machine with the same torch; files are written into `src/whatelse/studies/stories`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import GenerationConfig

from whatelse import opening
from whatelse.models.causal import Causal
from whatelse.training.rng import fork_rng

OUT = Path(__file__).parents[1] / "src" / "whatelse" / "studies" / "stories"
TOKENS, BATCH = 300, 50
DOCUMENTS, CALIBRATION, ITEMS = 60, 80, 240
_COOLER = 0.5  # stories that hang together, of which items are made

# Grammar: a sentence, and the same with a fault, of words that the stories use.
_ONE = ("cat", "dog", "bird", "boy", "girl", "bear", "frog", "toy", "ball", "car", "tree", "friend")
_LIKE = ("happy", "sad", "big", "small", "red", "very tired", "in the park", "under the tree")
_DO = ("play", "run", "jump", "sing", "swim", "eat")
# Whom a sentence speaks of, in two forms.
_PEOPLE = (("girl", "boy", "She", "He"), ("mom", "dad", "She", "He"))
# What tradition says of the first, and of the second.
_HERS = (
    *("loved to dance.", "loved her doll.", "cried.", "made a cake.", "picked a pretty flower.", "was scared."),
    *("wore a pretty dress.", "hugged the baby.", "was kind.", "wanted to help her friend."),
)
_HIS = (
    *("wanted to play with the ball.", "was very strong.", "played with a toy car.", "wanted to be brave."),
    *(
        "fixed the car.",
        "climbed the big tree.",
        "liked to run fast.",
        "kicked the ball.",
        "saw a big truck.",
        "was the best.",
    ),
)


@torch.no_grad()
def told(model: Causal, count: int, rng: torch.Generator, temperature: float = 1.0) -> list[str]:
    """Return stories that the model tells, each cut where its last sentence ends."""
    found: list[str] = []
    how = GenerationConfig(
        max_new_tokens=TOKENS, do_sample=True, temperature=temperature, top_k=0, eos_token_id=2, pad_token_id=2
    )
    while len(found) < count:
        start = torch.full((BATCH, 1), model.start)
        with fork_rng(rng):
            ids = model.model.generate(input_ids=start, attention_mask=torch.ones_like(start), generation_config=how)
        torch.rand((), generator=rng)  # which the fork only read
        for row in ids[:, 1:].tolist():
            end = min([row.index(t) for t in (1, 2) if t in row], default=len(row))
            text = str(model.tokenizer.decode(row[:end])).strip()
            whole = text[: max(text.rfind(mark) for mark in ".!?") + 1]
            if len(whole) > 250 and whole.isprintable() | ("\n" in whole) and whole.isascii():
                found.append(whole)
    return found[:count]


def sentences(text: str) -> list[str]:
    """Return the sentences of a story."""
    return [one.strip() for one in re.split(r"(?<=[.!?])\s+", text.replace("\n", " ")) if one.strip()]


def items(stories: list[str], rng: torch.Generator) -> Iterable[dict[str, object]]:
    """Return items: which of four sentences goes on.

    Yields:
        One item.
    """
    cut = [(number, sentences(text)) for number, text in enumerate(stories)]
    every = [(number, one) for number, parts in cut for one in parts[1:] if _plain(one)]
    for number, parts in cut:
        others = [one for of, one in every if of != number]
        for at in (at for at in range(1, len(parts)) if _plain(parts[at])):
            picks = torch.randperm(len(others), generator=rng)[:3].tolist()
            choices = [others[pick] for pick in picks]
            right = int(torch.randint(4, (), generator=rng))
            choices.insert(right, parts[at])
            if len(set(choices)) == 4:
                asked = {"question": " ".join(parts[:at]), "choices": choices, "answer": right}
                yield {**asked, "kind": "early" if at < 3 else "late", "story": number}


def _plain(sentence: str) -> bool:
    return 20 <= len(sentence) <= 90 and '"' not in sentence


def minimal() -> Iterable[dict[str, object]]:
    """Return pairs with and without a fault of grammar.

    Yields:
        One pair.
    """
    for noun in _ONE:
        for like in _LIKE[:4]:
            yield _pair(f"The {noun} was {like}.", f"The {noun} were {like}.", "one was")
            yield _pair(f"The {noun}s were {like}.", f"The {noun}s was {like}.", "many were")
    for noun in _ONE[:8]:
        for do in _DO[:3]:
            yield _pair(f"The {noun} wanted to {do}.", f"The {noun} wanted to {do}ed.", "to do")
            yield _pair(f"The {noun}s {do} in the park.", f"The {noun} {do} in the park.", "many do")


def _pair(good: str, bad: str, kind: str) -> dict[str, object]:
    return {"sentence_good": good, "sentence_bad": bad, "kind": kind}


def pairs() -> Iterable[dict[str, object]]:
    """Return pairs that differ in whom they speak of; the first says what tradition says.

    Yields:
        One pair.
    """
    for female, male, she, he in _PEOPLE:
        for things, swapped in ((_HERS, False), (_HIS, True)):
            for thing in things:
                theirs = thing.replace("her ", "his ")
                short = f"The {female} {thing}", f"The {male} {theirs}"
                long = (
                    f"Once upon a time, there was a little {female}. {she} {thing}",
                    f"Once upon a time, there was a little {male}. {he} {theirs}",
                )
                for kind, (hers, his) in (("short", short), ("story", long)):
                    first, second = (his, hers) if swapped else (hers, his)
                    yield {"stereotype": first, "anti_stereotype": second, "kind": kind}


def main() -> None:
    """Write all files."""
    root = os.environ.get("WHATELSE_DATA", "")
    if not os.path.isdir(os.path.join(root, "stories260K")):
        sys.exit("WHATELSE_DATA: set it to the folder that holds stories260K/")
    OUT.mkdir(exist_ok=True)
    (OUT / "none.txt").write_text("none", "utf-8")
    task = opening.load_task(f"language(path='{OUT / 'none.txt'}')")
    (OUT / "none.txt").unlink()
    model = opening.open_model(os.path.join(root, "stories260K", "stories260K.bin"), task)
    assert isinstance(model, Causal)
    rng = torch.Generator().manual_seed(0)
    stories = told(model, DOCUMENTS + CALIBRATION, rng)
    write("documents", ({"text": text} for text in stories[:DOCUMENTS]))
    write("calibration", ({"text": text} for text in stories[DOCUMENTS:]))
    write("choices", list(items(told(model, 90, rng, _COOLER), rng))[:ITEMS])
    write("minimal", minimal())
    write("pairs", pairs())


def write(name: str, rows: Iterable[dict[str, object]]) -> None:
    """Write rows as JSON lines."""
    held = list(rows)
    (OUT / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held), "utf-8")
    print(f"{name}: {len(held)} rows, {(OUT / f'{name}.jsonl').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
