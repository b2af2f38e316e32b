"""Hold one joint audit of a pair of language models against lm-eval twice and a KL script: equal numbers, CPU time.

    python bench/language.py [documents] [items]

What is measured: likelihood, divergence, expected tokens of documents; accuracy, flips and calibration of items with
four choices after a question of some sentences. Ours asks each body once for each token. The other side runs
lm-evaluation-harness on both models (``loglikelihood_rolling``, ``loglikelihood``), and a script that runs both once
more over the same windows with all log-odds at once, as such scripts do. Numbers are held against each other before
anything is timed. Seconds are those of the processor, in turn, on one thread; opening is not timed.

The models have random weights: a Llama of 4 layers, width 256 and 32,000 tokens, and the same rounded to 4 bits. Peak
memory is that of ours alone, in a process of its own, beside what the two models take.
"""

from __future__ import annotations

import importlib.util
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whatelse import items, opening
from whatelse.evidence import tokens, windows
from whatelse.evidence.cache import Evidence
from whatelse.tasks.language import Passage
from whatelse.testing import speakers

REPEATS, WORDS, NEAR = 3, 2000, 1e-4
SIZE = {"vocab_size": 32_000, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}
HEADS = {"num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 512}


def models(folder: Path) -> list[str]:
    """Return two folders, made in one: a model of random weights, and the same rounded to four bits."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    known = {"<s>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i + 3 for i in range(WORDS)}
    inner = Tokenizer(WordLevel(known, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **names)
    model = LlamaForCausalLM(LlamaConfig(**SIZE, **HEADS, bos_token_id=0, eos_token_id=1)).eval()
    rng = torch.Generator().manual_seed(0)
    for weights in model.parameters():
        weights.data = torch.randn(weights.shape, generator=rng) / 16 + (weights.dim() == 1)
    for name in ("base", "small"):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        for named, weights in model.named_parameters():
            if "proj" in named:
                step = weights.data.abs().amax(1, keepdim=True) / 7
                weights.data = (weights.data / step).round() * step
    return [str(folder / name) for name in ("base", "small")]


def texts(documents: int, questions: int) -> tuple[list[str], list[Passage], list[int]]:
    """Return documents, and items with the numbers of their right choices."""
    rng = random.Random(0)

    def said(count: int) -> str:
        return " ".join(f"w{rng.randrange(WORDS)}" for _ in range(count))

    asked = [Passage(said(60), tuple(f" {said(1 + (i % 2) * 4)}" for _ in range(4))) for i in range(questions)]
    return [said(rng.randint(100, 900)) for _ in range(documents)], asked, [rng.randrange(4) for _ in asked]


def ours(folders: Sequence[str], whole: tuple[list[str], list[Passage], list[int]]) -> Callable[[], dict[str, Any]]:
    """Return what measures the pair by the evidence of this toolkit."""
    documents, asked, right = whole
    tasks = speakers.documents(documents), speakers.task_of("choices", asked, right)
    held = [opening.open_model(folder, tasks[0]) for folder in folders]

    def measured() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for task in tasks:
            base = Evidence(speakers.subject_of(held[0], "base", task), task)
            mine = Evidence(speakers.subject_of(held[1], "small", task), task, reference=base)
            if task is tasks[0]:
                said = [tokens.documents(one) for one in (base, mine)]
                found["losses"] = [_summed(one) for one in said]
                found["divergence"] = float(said[1]["divergence"].mean())
                found["moved"] = float((said[0]["likeliest"] != said[1]["likeliest"]).double().mean())
                continue
            found["scores"] = [one.logits().double().numpy() for one in (base, mine)]
            for name in ("accuracy", "flips", "calibration"):
                item = items.behaviour(f"generalization.{name}")
                item.answer(base, mine, item.configure({}), torch.Generator())
        return found

    return measured


def theirs(folders: Sequence[str], whole: tuple[list[str], list[Passage], list[int]]) -> Callable[[], dict[str, Any]]:
    """Return what measures the pair by lm-eval, twice, and a script for the divergence."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    documents, asked, _ = whole
    held = [HFLM(pretrained=folder, device="cpu", batch_size=8) for folder in folders]

    def measured() -> dict[str, Any]:
        found: dict[str, Any] = {"losses": [], "scores": []}
        for one in held:
            rolling = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(documents)]
            found["losses"].append(-np.array(one.loglikelihood_rolling(rolling, disable_tqdm=True)))
            pairs = [Instance("loglikelihood", {}, (p.context, text), 0) for p in asked for text in p.continuations]
            said = [score for score, _ in one.loglikelihood(pairs, disable_tqdm=True)]
            found["scores"].append(np.array(said).reshape(len(asked), -1))
        far, moved = _script(held, documents)
        return found | {"divergence": far, "moved": moved}

    return measured


@torch.no_grad()
def _script(held: Sequence[Any], documents: Sequence[str]) -> tuple[float, float]:
    """Return the mean divergence and the share of other likeliest tokens, from all log-odds of a window at once."""
    far, moved, count = 0.0, 0, 0
    for text in documents:
        ids = held[0].tok_encode(text)
        for window in windows.rolling(ids, held[0].prefix_token_id, held[0].max_length, 0):
            last = len(window.said[0].targets)
            p, q = (one.model(torch.tensor([window.inputs])).logits[0, -last:].float().log_softmax(1) for one in held)
            far += float((p.exp() * (p - q)).sum())
            moved += int((p.argmax(1) != q.argmax(1)).sum())
            count += last
    return far / count, moved / count


def _summed(said: dict[str, torch.Tensor]) -> np.ndarray:
    found = torch.zeros(int(said["document"].max()) + 1, dtype=torch.float64)
    return found.index_add_(0, said["document"], said["loss"]).numpy()


def _seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _memory(folders: Sequence[str], counts: Sequence[int]) -> tuple[float, float]:
    """Return the peak of a process that measures by ours, and that of one that opens the models alone, in MB."""
    found = []
    for measure in (True, False):
        call = [sys.executable, __file__, "memory", str(int(measure)), *folders, *map(str, counts)]
        found.append(float(subprocess.run(call, check=True, capture_output=True, text=True).stdout.split()[-1]))
    return found[0], found[1]


def main() -> None:
    """Print what both sides take."""
    torch.set_num_threads(1)
    given = sys.argv[1:]
    if given[:1] == ["memory"]:
        run = ours(given[2:4], texts(*map(int, given[4:6])))
        if given[1] == "1":
            run()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    if importlib.util.find_spec("lm_eval") is None:
        print("lm-eval is not installed, and there is nothing to hold it against: pip install lm-eval==0.4.13")
        return
    counts = [int(one) for one in given] or [24, 60]
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        folders = models(Path(place))
        whole = texts(*counts)
        sides = ours(folders, whole), theirs(folders, whole)
        one, two = (side() for side in sides)
        apart = max(
            float(np.abs(a - b).max()) for k in ("losses", "scores") for a, b in zip(one[k], two[k], strict=True)
        )
        relative = max(abs(one[k] - two[k]) for k in ("divergence", "moved"))
        print(
            f"largest difference: {apart:.1g} nats of a document or choice, {relative:.1g} of divergence, other tokens"
        )
        scale = max(float(np.abs(a).max()) for a in two["losses"])
        if apart > NEAR + 1e-6 * scale or relative > NEAR:
            raise SystemExit("the two sides measure different numbers")
        took = [[_seconds(side) for side in sides] for _ in range(REPEATS)]
        mine, other = (statistics.median(each) for each in zip(*took, strict=True))
        peak, alone = _memory(folders, counts)
    print(
        f"{counts[0]} documents, {counts[1]} items, both models: {mine:.2f} CPU seconds of ours, {other:.2f} of "
        "lm-eval twice and a script"
    )
    print(f"ratio {other / mine:.2f} (of single turns {', '.join(f'{b / a:.2f}' for a, b in took)})")
    print(f"peak memory of ours {peak:.0f} MB; with both models opened and nothing asked {alone:.0f} MB")


if __name__ == "__main__":
    main()
