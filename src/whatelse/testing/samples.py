"""Small tasks, models and evidence that items are tried on, and that their own tests are written with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from whatelse.evidence.cache import Evidence, References
from whatelse.models import subject
from whatelse.models.model import Model
from whatelse.nets import cnn, transformer
from whatelse.tasks.task import SPLITS, Split, Task
from whatelse.testing import speakers
from whatelse.training import loop

CLASSES, SHAPE = 3, (1, 8, 8)
_COUNT, _TOKENS = 90, 8


def split_of(
    inputs: Tensor | Sequence[object],
    targets: Tensor | Sequence[int],
    *,
    observed: Tensor | Sequence[int] | None = None,
    groups: Mapping[str, Tensor | Sequence[int]] | None = None,
    masks: Tensor | None = None,
) -> Split:
    """Return a split of tensors or lists.

    Args:
        inputs: ``(N, ...)``.
        targets: The true classes, ``(N,)``.
        observed: The labels as they were recorded; the true ones where they are left out.
        groups: Group codes by name, each ``(N,)``.
        masks: Where the evidence for a label lies, of the shape of the inputs.
    """
    true = torch.as_tensor(targets)
    codes = {name: torch.as_tensor(code) for name, code in (groups or {}).items()}
    seen = true if observed is None else torch.as_tensor(observed)
    return Split(torch.as_tensor(inputs), true, seen, codes, masks)


def task_of(
    test: Split, *, classes: int = 2, bounds: tuple[float, float] | None = (-10.0, 10.0), train: Split | None = None
) -> Task:
    """Return a task whose four splits are the same examples, unless others are given to train on.

    Args:
        test: The examples that verdicts are given on.
        classes: Number of classes.
        bounds: Smallest and largest value of an input.
        train: What train and calibration hold.
    """
    train = train or test
    splits = {"train": train, "calibration": train, "select": test, "test": test}
    names = {name: tuple(f"{name} {i}" for i in range(int(codes.max()) + 1)) for name, codes in test.groups.items()}
    return Task("sample", classes, bounds, splits, names)


def evidence_of(model: nn.Module, task: Task, *, reference: Evidence | None = None, name: str = "model") -> Evidence:
    """Return evidence of a live module on a task, with the capabilities that the module really has.

    Args:
        model: Any classifier of the task's inputs; it is frozen.
        task: The examples.
        reference: Evidence of the baseline, where this is a candidate.
        name: How messages call the model.
    """
    return Evidence(_subject(model, name, task), task, reference=reference)


class Canned(nn.Module):
    """A module that answers given scores: inputs are the numbers of their rows, ``(N, 1)``.

    Args:
        scores: ``(N, classes)``.
    """

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.register_buffer("scores", scores.float())

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scores of the rows, ``(B, classes)``.

        Args:
            inputs: Numbers of rows, ``(B, 1)``.
        """
        scores = self.get_buffer("scores")
        return scores[inputs.flatten(1)[:, 0].long()].to(inputs.dtype)


def answering(
    scores: Tensor | Sequence[Sequence[float]],
    targets: Tensor | Sequence[int],
    groups: Mapping[str, Tensor | Sequence[int]] | None = None,
) -> Evidence:
    """Return evidence of a model that answers given scores, whose every number can be worked out by hand.

    Args:
        scores: Of every class for every test example, ``(N, classes)``.
        targets: The true classes, ``(N,)``.
        groups: Group codes by name, each ``(N,)``.
    """
    table = torch.as_tensor(scores, dtype=torch.float32)
    test = split_of(torch.arange(len(table)).float()[:, None], targets, groups=groups)
    return evidence_of(Canned(table), task_of(test, classes=table.shape[1]))


def predicting(
    classes: Tensor | Sequence[int],
    targets: Tensor | Sequence[int],
    groups: Mapping[str, Tensor | Sequence[int]] | None = None,
) -> Evidence:
    """Return evidence of a model that predicts given classes.

    Args:
        classes: The predicted class of every test example, ``(N,)``.
        targets: The true classes, ``(N,)``.
        groups: Group codes by name, each ``(N,)``.
    """
    said, true = torch.as_tensor(classes), torch.as_tensor(targets)
    count = max(2, 1 + int(torch.maximum(said.max(), true.max())))
    return answering(torch.nn.functional.one_hot(said, count).float(), true, groups)


def images() -> Task:
    """Return images whose class is the brightest of three corners, by little: learned fast, and attacked easily.

    They have everything that a behaviour may ask for: groups, masks, wrong labels, bounds. They are new each time, so
    that an item that writes on them spoils nobody else's.
    """
    return deepcopy(_images())


def texts() -> Task:
    """Return texts with one word of praise or of blame; new each time."""
    return deepcopy(_texts())


def sentences() -> Task:
    """Return sentences whose words are tagged with entities of two types; new each time."""
    return deepcopy(_sentences())


def of(needs: frozenset[str]) -> tuple[Task, tuple[nn.Module, nn.Module]]:
    """Return the task that a behaviour is tried on, and two models: of passages, texts, sentences, else of images.

    Args:
        needs: What the behaviour asks for.
    """
    if (spoken := speakers.of(needs)) is not None:
        return spoken
    if "texts" in needs:
        return texts(), readers()
    return (sentences(), taggers()) if "sentences" in needs else (images(), models())


def models() -> tuple[nn.Module, nn.Module]:
    """Return two small networks that learned the images, from different seeds; new each time."""
    return learned(0), learned(1)


def learned(seed: int) -> nn.Module:
    """Return a small network that learned the images; new each time.

    Args:
        seed: Which.
    """
    return deepcopy(_learned(seed))


def readers() -> tuple[nn.Module, nn.Module]:
    """Return two small networks that learned the texts, from different seeds; new each time."""
    return deepcopy(_readers())


def taggers() -> tuple[nn.Module, nn.Module]:
    """Return two models that look up what they say of each word of the sentences; new each time."""
    return _Tagger(0), _Tagger(1)


class _Tagger(nn.Module):
    """Scores of every word by its sentence and place, mostly right."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        task, rng = _sentences(), torch.Generator().manual_seed(seed)
        table = torch.randn(len(task.sentences), _TOKENS, task.classes, generator=rng)
        sentence, place = task.test.inputs.long().unbind(1)
        table[sentence, place, task.test.targets] += 2
        self.table = nn.Parameter(table)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``.

        Args:
            x: Sentences and places, ``(N, 2)``.
        """
        sentence, place = x.long().unbind(1)
        found: Tensor = self.table[sentence, place]
        return found


@dataclass(eq=False)
class Watched(Evidence):
    """Evidence that knows whether a behaviour drew from its own seed, so that values go by places and not examples.

    Attributes:
        drawn: Whether it did.
    """

    drawn: bool = False

    def draws(self, seed: int) -> torch.Generator:
        """Return the source of what is drawn alike for every model, and remember it.

        Args:
            seed: The behaviour's own.
        """
        self.drawn = True
        return super().draws(seed)


def pair(needs: frozenset[str], task: Task | None = None, batch: int = 0) -> tuple[Watched, Watched]:
    """Return evidence of a baseline and of a candidate, on texts or sentences for an item that is about such.

    Args:
        needs: What the behaviour asks for.
        task: Another order of the same examples; by default those of `of` as they are.
        batch: Examples a pass; 0 for the usual number.
    """
    known, asked = of(needs)
    task = task or known
    shadows: list[Callable[[], References] | None] = [None, None]
    if task.modality == "images":
        one, two = _shadows()
        shadows = [lambda: one, lambda: two]
    first = Watched(_subject(asked[0], "baseline", task), task, shadows=shadows[0], batch=batch)
    second = _subject(asked[1], "candidate", task)
    return first, Watched(second, task, reference=first, shadows=shadows[1], batch=batch)


def watched(model: nn.Module, task: Task, *, name: str, reference: Evidence | None = None) -> Watched:
    """Return evidence of a model of the images or of the texts, with shadow models for the images.

    Args:
        model: As `models` or `readers` gives them; it is frozen.
        task: The images or the texts.
        name: How messages call the model.
        reference: Evidence of the baseline, where this is a candidate.
    """
    shadows = None if task.vocabulary else lambda: _shadows()[reference is not None]
    return Watched(_subject(model, name, task), task, reference=reference, shadows=shadows)


def with_test(task: Task, test: Split) -> Task:
    """Return a task with other examples in test and select.

    Args:
        task: What keeps its train and calibration splits.
        test: The examples.
    """
    return replace(task, splits={**task.splits, "select": test, "test": test})


@cache
def _images() -> Task:
    rng = torch.Generator().manual_seed(5)
    targets = torch.arange(_COUNT) % CLASSES
    inputs = 0.5 + 0.05 * torch.randn(_COUNT, *SHAPE, generator=rng)
    for i, (row, column) in enumerate(((0, 0), (0, 5), (5, 0))):
        inputs[targets == i, 0, row : row + 3, column : column + 3] += 0.12
    rows = torch.arange(_COUNT)
    masks = torch.zeros(inputs.shape, dtype=torch.bool)
    masks[:, :, :3] = True
    observed = torch.where(rows % 7 == 0, (targets + 1) % CLASSES, targets)
    test = split_of(inputs.clamp(0, 1), targets, observed=observed, groups={"style": rows % 2}, masks=masks)
    return task_of(test, classes=CLASSES, bounds=(0.0, 1.0))


@cache
def _texts() -> Task:
    words = ("", "(unknown)", "film", "trail", "trial", "plot", "great", "lovely", "awful", "dreary")
    rng = torch.Generator().manual_seed(5)
    targets = torch.arange(_COUNT) % 2
    ids = torch.randint(1, 6, (_COUNT, _TOKENS), generator=rng)
    ids[:, 2] = 8 - 2 * targets + torch.randint(2, (_COUNT,), generator=rng)
    ids[::3, 5:] = 0
    split = Split(ids.float(), targets, targets)
    return Task("texts", 2, None, dict.fromkeys(SPLITS, split), vocabulary=len(words), words=words)


@cache
def _sentences() -> Task:
    names = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    rng = torch.Generator().manual_seed(5)
    lines = tuple(tuple(f"word{i}" for i in range(2 + at % (_TOKENS - 2))) for at in range(_COUNT // 3))
    lines = tuple((f"line{at}", *words) for at, words in enumerate(lines))
    places = torch.tensor([(at, place) for at, words in enumerate(lines) for place in range(len(words))])
    targets = torch.randint(len(names), (len(places),), generator=rng)
    split = Split(places.float(), targets, targets, clusters=places[:, 0])
    return Task("sentences", len(names), None, dict.fromkeys(SPLITS, split), class_names=names, sentences=lines)


@cache
def _learned(which: int) -> nn.Module:
    task, rng = _images(), torch.Generator().manual_seed(3 + which)
    model = cnn.build(cnn.Config(width=4, hidden=8), SHAPE, CLASSES, rng)
    train = task.train
    loop.fit(model, train.inputs, loop.hard_labels(train.targets), loop.Schedule(40, 0.01, 15), rng)
    return model


@cache
def _readers() -> tuple[nn.Module, nn.Module]:
    task, found = _texts(), []
    train, rng = task.train, torch.Generator()
    for seed in (3, 4):
        config = transformer.Config(vocabulary=task.vocabulary, width=8, heads=2, depth=1, hidden=8)
        model = transformer.build(config, task.shape, 2, rng.manual_seed(seed))
        loop.fit(model, train.inputs, loop.hard_labels(train.targets), loop.Schedule(10, 0.02, 15), rng)
        found.append(model)
    return found[0], found[1]


@cache
def _shadows() -> tuple[References, References]:
    rng = torch.Generator().manual_seed(3)
    inside = torch.rand(4, 2 * _COUNT, generator=rng) < 0.5
    inside[1], inside[3] = ~inside[0], ~inside[2]
    logits = torch.randn(4, 2 * _COUNT, CLASSES, generator=rng)
    moves = torch.rand(4, 2 * _COUNT, CLASSES, generator=rng)
    return References(logits, inside, moves), References(logits + 0.1, inside, moves)


def _subject(model: nn.Module, name: str, task: Task) -> Model:
    if task.language is not None:
        return speakers.subject_of(model, name, task)
    probe, rng = task.test.inputs[:4], torch.Generator().manual_seed(0)
    return subject.of(model, name, f"key of {name}", probe, rng, tokens=task.vocabulary > 0)
