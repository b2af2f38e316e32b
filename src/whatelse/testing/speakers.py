"""A small language model without any library, and texts for it: what language behaviours are tried on.

It reads letters, and expects the next one from a fading memory of those before.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

from whatelse.evidence.cache import Evidence
from whatelse.models import take
from whatelse.models.heads import Part
from whatelse.models.model import Model, Written
from whatelse.models.recorded import RecordedScores
from whatelse.tasks.language import CHOICES, DOCUMENTS, PAIRS, Language, Passage
from whatelse.tasks.task import SPLITS, Split, Task

LETTERS = " .abcdefghijklmnopqrstuvwxyz"
_START, _UNKNOWN, _FIRST = 0, 1, 2
_WIDTH, _HEADS, _LONGEST, _COUNT = 8, 4, 1024, 30
_WORDS = ("the", "a", "dog", "cat", "ran", "sat", "home", "she", "he", "saw", "red", "big")


class Speaker(nn.Module):
    """A language model of letters, at rest.

    Args:
        seed: Of its weights.
        moved: How far its weights lie from those of the seed, as a compression would leave them.
        longest: Letters that it reads at once at most.
    """

    start, unknown, vocabulary = _START, _UNKNOWN, _FIRST + len(LETTERS)

    def __init__(self, seed: int = 0, moved: float = 0.0, longest: int = _LONGEST) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.longest, self.moved = longest, moved
        self._gone: Part | None = None
        for name, shape in (("table", (self.vocabulary, _WIDTH)), ("head", (self.vocabulary, _WIDTH))):
            first = torch.randn(shape, generator=rng)
            held = first + moved * torch.randn(shape, generator=rng)
            self.register_parameter(name, nn.Parameter(held, requires_grad=False))
        self.training = False

    @property
    def key(self) -> str:
        """What it is known by."""
        return f"speaker {float(self.get_parameter('table').sum())} {self.longest}"

    def cut(self, text: str, *, whole: bool) -> list[int]:
        """Return the letters of a text.

        Args:
            text: Any.
            whole: Not used: nothing is put at a beginning.
        """
        del whole
        return [_FIRST + at if (at := LETTERS.find(letter)) >= 0 else _UNKNOWN for letter in text.lower()]

    def states(self, tokens: Tensor) -> Tensor:
        """Return the state after each letter, ``(B, T, width)``: half of the one before, and the letter's vector.

        Args:
            tokens: ``(B, T)``.
        """
        vectors, found = self.get_parameter("table")[tokens], []
        state = torch.zeros_like(vectors[:, 0])
        for at in range(tokens.shape[1]):
            state = state / 2 + vectors[:, at]
            found.append(state)
        states = torch.stack(found, 1)
        if self._gone is not None:
            states = torch.unflatten(states, -1, (_HEADS, -1))
            states = states.index_fill(-2, torch.tensor(self._gone.head), 0).flatten(-2)
        return states

    @property
    def parts(self) -> Sequence[Part]:
        """Pairs of places of a state, as heads of one layer."""
        return tuple(Part(0, head) for head in range(_HEADS))

    @contextmanager
    def left_out(self, part: Part) -> Generator[None]:
        """Leave a pair of places at zero for a while.

        Args:
            part: One of ``parts``.

        Yields:
            Nothing; the pair is back at the end.
        """
        self._gone = part
        try:
            yield
        finally:
            self._gone = None

    @property
    def depth(self) -> int:
        """How many blocks it has: one, its table."""
        return 1

    @property
    def width(self) -> int:
        """How many numbers a state has."""
        return _WIDTH

    def attention(self, tokens: Tensor) -> Sequence[Tensor]:
        """Return where every pair of places is said to look, ``(B, pairs, T, T)``: no state is made of it.

        The first looks at the letter before, the second at what came after the same letter, or at itself where that is
        new, the others at what is fading. A model that moved looks about as well, evenly, by half as much as it moved.

        Args:
            tokens: ``(B, T)``.
        """
        wide = tokens.shape[1]
        far = torch.arange(wide)[:, None] - torch.arange(wide)
        past = (far >= 0).float()
        last = (far == 1).float()
        last[0, 0] = 1.0
        same = (tokens[:, :, None] == tokens.roll(1, 1)[:, None, :]) & (far >= 0) & (torch.arange(wide) > 0)
        after = torch.where(same.any(2, keepdim=True), same.float(), torch.eye(wide))
        fading = past * 0.5 ** far.clamp(min=0)
        looks = [last.expand_as(after), after, fading.expand_as(after), fading.expand_as(after)]
        found = torch.stack([one / one.sum(-1, keepdim=True) for one in looks], 1)
        return [found.lerp(past / past.sum(-1, keepdim=True), min(1.0, self.moved / 2))]

    @contextmanager
    def grafted(self, other: Speaker, at: int) -> Generator[None]:
        """Take the vectors of another speaker for a while.

        Args:
            other: The other.
            at: Not used: there is one block.

        Yields:
            Nothing; its own vectors are back at the end.
        """
        del at
        own = self.get_parameter("table")
        self.register_parameter("table", nn.Parameter(other.get_parameter("table"), requires_grad=False))
        try:
            yield
        finally:
            self.register_parameter("table", nn.Parameter(own, requires_grad=False))

    def written(self, tokens: Tensor) -> Iterator[Tensor]:
        """Yield what every pair of places adds to the state of each letter, ``(pairs, B T, width)``.

        Args:
            tokens: ``(B, T)``.
        """
        states = self.states(tokens).flatten(0, 1)
        alone = torch.eye(_HEADS).repeat_interleave(_WIDTH // _HEADS, 1)
        yield states * alone[:, None]

    def said(self, states: Tensor) -> Tensor:
        """Return the log-odds of the next letter, ``(M, vocabulary)``.

        Args:
            states: ``(M, width)``.
        """
        return states @ self.get_parameter("head").T

    def write(self, prompts: Sequence[str], tokens: int, at_once: int) -> list[Written]:
        """Return what follows each prompt, always the likeliest letter; a full stop ends it.

        Args:
            prompts: Texts.
            tokens: Letters at most.
            at_once: Not used: prompts are read one by one.
        """
        del at_once
        found = []
        for prompt in prompts:
            held, text = self.cut(prompt, whole=True), ""
            while len(text) < tokens and not text.endswith("."):
                token = int(self.said(self.states(torch.tensor([held]))[0, -1:]).argmax())
                held.append(token)
                text += LETTERS[token - _FIRST] if token >= _FIRST else "?"
            found.append(Written(text, text.endswith("."), len(text)))
        return found


def task_of(
    form: str,
    passages: Sequence[Passage],
    targets: Sequence[int] = (),
    context: int = 0,
    *,
    members: Sequence[bool] = (),
) -> Task:
    """Return passages as a task, all of them in every split.

    Args:
        form: Of them, such as ``documents``.
        passages: What is asked.
        targets: Numbers of the right continuations; the first ones where they are left out.
        context: Tokens that are read at once at most; 0 for as many as a model takes.
        members: Which of them are of one side of two groupings, ``member`` and ``harmful``; empty for no grouping.
    """
    count = len(passages)
    right = torch.tensor([*targets] or [0] * count)
    inputs = torch.arange(count).float()[:, None]
    groups = {name: torch.tensor(members).long() for name in ("member", "harmful")} if members else {}
    split = Split(inputs, right, right, groups, clusters=torch.arange(count))
    classes = max(len(one.continuations) for one in passages)
    language = Language(form, tuple(passages), context)
    names = dict.fromkeys(groups, ("no", "yes"))
    return Task("texts", classes, None, dict.fromkeys(SPLITS, split), names, language=language)


def documents(texts: Sequence[str], context: int = 0) -> Task:
    """Return documents as a task.

    Args:
        texts: The documents.
        context: Tokens that are read at once at most; 0 for as many as a model takes.
    """
    return task_of(DOCUMENTS, [Passage("", (text,)) for text in texts], context=context)


def evidence_of(model: object, task: Task, *, name: str = "model", reference: Evidence | None = None) -> Evidence:
    """Return evidence of a language model.

    Args:
        model: Satisfies `whatelse.models.model.Reads`.
        task: What it is asked.
        name: How messages call it.
        reference: Evidence of the baseline, where this is a candidate.
    """
    return Evidence(subject_of(model, name, task), task, reference=reference)


def subject_of(model: object, name: str, task: Task) -> Model:
    """Return a language model under audit.

    Args:
        model: Satisfies `whatelse.models.model.Reads`.
        name: How messages call it.
        task: What it is asked.
    """
    return take.take(model, name, f"key of {name}", task, torch.Generator())  # type: ignore[arg-type] # a protocol


def recorded_of(held: RecordedScores, task: Task) -> Evidence:
    """Return evidence of a model whose log-likelihoods somebody recorded.

    Args:
        held: Of the choices of every item.
        task: The items.
    """
    return Evidence(Model("model", held, held.key), task)


def scored(
    scores: Sequence[Sequence[float]], targets: Sequence[int], form: str = CHOICES
) -> tuple[Task, Mapping[str, Tensor]]:
    """Return items of which somebody recorded the log-likelihoods, and these, as `RecordedScores` takes them.

    Args:
        scores: Of every choice of every item.
        targets: Numbers of the right choices.
        form: ``choices`` or ``pairs``.
    """
    table = torch.tensor(scores, dtype=torch.float32)
    passages = [
        Passage(f"item {at}", tuple(f" {'x' * (1 + k)}" for k in range(table.shape[1]))) for at in range(len(table))
    ]
    return task_of(form, passages, targets), dict.fromkeys(("select", "test"), table)


def of(needs: frozenset[str]) -> tuple[Task, tuple[Speaker, Speaker]] | None:
    """Return the task that a language behaviour is tried on, and two models of it; None where it asks for no texts.

    Args:
        needs: What the behaviour asks for.
    """
    form = next((form for form in (DOCUMENTS, CHOICES, PAIRS) if form in needs), "")
    return (_task(form), (Speaker(), Speaker(moved=0.3))) if form else None


@cache
def _task(form: str) -> Task:
    rng = torch.Generator().manual_seed(5)

    def line(words: int) -> str:
        return " ".join(_WORDS[i] for i in torch.randint(len(_WORDS), (words,), generator=rng).tolist()) + "."

    if form == DOCUMENTS:
        texts = [Passage("", (f"{line(2 + at % 5)} {line(40)}",)) for at in range(_COUNT)]
        return task_of(DOCUMENTS, texts, members=[at % 2 == 1 for at in range(_COUNT)])
    if form == PAIRS:
        return task_of(PAIRS, [Passage("", (line(4), line(4))) for _ in range(_COUNT)])
    passages = [Passage(line(3), tuple(f" {line(1 + k % 2)}" for k in range(3))) for _ in range(_COUNT)]
    return task_of(CHOICES, passages, [at % 3 for at in range(_COUNT)])
