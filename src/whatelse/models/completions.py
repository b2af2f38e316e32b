"""A language model behind an OpenAI-compatible address: ``/completions``, believed as far as a probe bears it out.

Log-probabilities of a prompt come from ``echo`` with ``logprobs``, which not every server has: some leave them out,
give one for the whole prompt, or zeros. A known text is asked first. What does not answer it with a log-probability for
every token but the first, of a text that is the one that was asked, is not asked for likelihoods at all: it only
writes.

The first token of a prompt has no log-probability here, unless the server puts one before it; it is left out, of all
models alike.

Source:
    The completions of OpenAI's API, as vLLM and others serve it; probing: lm-evaluation-harness, issue 4158, and
    llama.cpp, issue 27174, where every choice scores 0 and accuracy lands on chance without a word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from whatelse.errors import TaskError
from whatelse.models.line import Line
from whatelse.models.model import Written
from whatelse.tasks.language import DOCUMENTS
from whatelse.tasks.task import Task

PARTED = "#"  # between an address and the name of a model there
_PROBE = "The quick brown fox jumps over the lazy dog, and the dog looks up."
_STEADY, _CERTAIN = 0.05, 1e-4  # nats of a token that two equal requests may differ by; above 0 that is rounding
_FEWEST, _ROOM = 4, 64  # tokens of the probe; entries of an answer beside its tokens
_EACH = 8  # entries of an answer for each token: text, place, log-probability, and those of the likeliest


@dataclass(frozen=True)
class _Told:
    """What was said of a prompt: tokens but the first, by where they begin in it.

    Attributes:
        places: Where in the prompt each token begins.
        logs: Their log-probabilities in nats.
    """

    places: tuple[int, ...]
    logs: tuple[float, ...]


class Completions:
    """What is asked over HTTP, and goes on with texts.

    Attributes:
        name: Its address and the name of the model.
        key: Of both, and of what it says of a known text.
        told: What a reader must know of it.
    """

    def __init__(self, address: str, model: str) -> None:
        self._line, self._model, self.name = Line(address), model, f"{address}{PARTED}{model}"
        self.key = f"completions-{_digest(self.name)}-unsteady"
        self.told: tuple[str, ...] = ()

    def write(self, prompts: Sequence[str], tokens: int, at_once: int) -> list[Written]:
        """Return what follows each prompt, always the likeliest token.

        Args:
            prompts: Texts.
            tokens: How many at most.
            at_once: How many prompts go in one request.

        Raises:
            TaskError: It does not answer, or not every prompt.
        """
        found: list[Written] = []
        for at in range(0, len(prompts), at_once):
            some = list(prompts[at : at + at_once])
            answer = self._ask({"prompt": some, "max_tokens": tokens}, len(some) * tokens)
            choices = self._choices(answer, len(some))
            spent = (answer.get("usage") or {}).get("completion_tokens")
            each = spent // len(some) if isinstance(spent, int) else tokens
            found += [Written(str(one.get("text", "")), one.get("finish_reason") == "stop", each) for one in choices]
        return found

    def is_still(self, key: str) -> bool:
        """Return whether it answers as it did when it was given a key.

        Args:
            key: That the work was planned for.
        """
        planned, mine = key.split("-"), self.key.split("-")
        return planned[:2] == mine[:2] and (planned[2] == mine[2] or "unsteady" in {planned[2], mine[2]})

    def said(self, text: str) -> _Told:
        """Return what is said of the tokens of a text.

        Args:
            text: Any.

        Raises:
            TaskError: It does not answer, or with fewer log-probabilities than tokens, or of another text.
        """
        given = {"prompt": text, "max_tokens": 1, "echo": True, "logprobs": 1}
        (choice,) = self._choices(self._ask(given, len(text)), 1)
        held = choice.get("logprobs")
        parts = held if isinstance(held, dict) else {}
        tokens, logs = parts.get("tokens"), parts.get("token_logprobs")
        if not isinstance(tokens, list) or not isinstance(logs, list) or len(tokens) != len(logs):
            raise TaskError(f"{self.name} gives no log-probability for every token of a prompt (echo, logprobs)")
        return self._read(
            text, str(choice.get("text", "")), [str(one) for one in tokens], logs, parts.get("text_offset")
        )

    def _read(self, text: str, said: str, tokens: Sequence[str], logs: Sequence[Any], offsets: object) -> _Told:
        """Return what is said of the tokens of a text that have a log-probability.

        Raises:
            TaskError: These are of another text, or not all there.
        """
        start = said.find(text)
        if start < 0:
            raise TaskError(
                f"{self.name} answers of another text than it was asked, which was cut or changed on the way"
            )
        lengths = [0, *map(len, tokens)]
        whole = isinstance(offsets, list) and len(offsets) == len(tokens) and all(type(o) is int for o in offsets)
        places = [o - start for o in offsets] if whole and isinstance(offsets, list) else _running(lengths, -start)
        mine = [(p, log) for p, log in zip(places, logs, strict=True) if 0 <= p < len(text)]
        known = mine[1:] if mine and mine[0][1] is None else mine
        if not mine or not all(isinstance(log, int | float) and log <= _CERTAIN for _, log in known):
            raise TaskError(f"{self.name} gives no log-probability for every token of a prompt (echo, logprobs)")
        return _Told(tuple(p for p, _ in known), tuple(float(log) for _, log in known))

    def _ask(self, given: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        whole = {"model": self._model, "temperature": 0, **given}
        return self._line.sent(whole, _EACH * (tokens + _ROOM), "/completions")

    def _choices(self, answer: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
        found = answer.get("choices")
        if not isinstance(found, list) or len(found) != count or not all(isinstance(one, dict) for one in found):
            raise TaskError(
                f"{self.name} answers {count} prompts with {self._line.shown(found, 80)}; choices are needed"
            )
        return sorted(found, key=lambda one: one["index"] if isinstance(one.get("index"), int) else 0)


class ReadingDocuments(Completions):
    """One that says how likely documents are."""

    def __init__(self, address: str, model: str, task: Task) -> None:
        super().__init__(address, model)
        self._task, self._held = task, dict[str, Tensor]()

    def loglikelihoods(self, split: str) -> Tensor:
        """Return the log-likelihood of every document of a split in nats, ``(N,)``; asked once.

        Args:
            split: Its name.

        Raises:
            TaskError: It does not answer all of them.
        """
        if split not in self._held:
            assert self._task.language is not None
            texts = (one.continuations[0] for one in self._task.language.of(self._task.split(split).inputs))
            self._held[split] = torch.tensor([sum(self.said(text).logs) for text in texts], dtype=torch.float64)
        return self._held[split]


class ReadingChoices(Completions):
    """One that says how likely the continuations of passages are."""

    def __init__(self, address: str, model: str, task: Task) -> None:
        super().__init__(address, model)
        self._task, self._held = task, dict[str, Tensor]()

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that have examples."""
        return tuple(name for name, split in self._task.splits.items() if len(split))

    def recorded(self, split: str) -> Tensor:
        """Return the log-likelihood of every continuation of a split, ``(N, continuations)``; asked once.

        Minus infinity where a passage has fewer.

        Args:
            split: Its name.

        Raises:
            TaskError: It does not answer all of them.
        """
        if split not in self._held:
            assert self._task.language is not None
            passages = self._task.language.of(self._task.split(split).inputs)
            found = torch.full((len(passages), self._task.classes), -torch.inf)
            for row, passage in enumerate(passages):
                for at, (context, text) in enumerate(passage.pairs):
                    found[row, at] = self._of(context, text)
            self._held[split] = found
        return self._held[split]

    def _of(self, context: str, text: str) -> float:
        """Return the log-likelihood of a text after a context: of the tokens that begin behind its last letter."""
        told = self.said(context + text)
        start = len(context.rstrip())
        return sum(log for place, log in zip(told.places, told.logs, strict=True) if place >= start)


def opened(address: str, task: Task) -> Completions:
    """Return what answers at an address, as far as a probe bears it out.

    Args:
        address: Of the API, such as ``http://localhost:8000/v1``, with the name of the model behind a `PARTED`.
        task: What it is asked.

    Raises:
        ArtifactError: It is no address.
        TaskError: It does not answer, serves several models of which none is named, or changes its answers.
    """
    place, _, model = address.partition(PARTED)
    model = model or _only(place)
    plain = Completions(place, model)
    plain.write([_PROBE], 1, 1)  # whatever does not even write is refused here, in one line
    asked = f"{plain.name} was asked over HTTP; what it is cannot be seen, and is measured anew"
    try:
        one, two = plain.said(_PROBE), plain.said(_PROBE)
    except TaskError as error:
        plain.told = (asked, f"{error}: likelihoods are not asked of it")
        return plain
    if why := _unlikely(one):
        plain.told = (asked, f"{plain.name} {why}: likelihoods are not asked of it")
        return plain
    off = max((abs(a - b) for a, b in zip(one.logs, two.logs, strict=False)), default=0.0)
    if len(one.logs) != len(two.logs) or off > _STEADY:
        raise TaskError(
            f"{plain.name} answers two identical requests otherwise, by {off:.2g} nats of a token, and nothing "
            f"measured of it would repeat; up to {_STEADY:g} is allowed: let one copy of one model answer"
        )
    kind = ReadingDocuments if task.modality == DOCUMENTS else ReadingChoices
    made = kind(place, model, task)
    made.key = f"completions-{_digest(made.name)}-{'unsteady' if off else _digest(repr(one))}"
    moves = f"{made.name} answers two identical requests otherwise, by {off:.1g} nats of a token"
    made.told = (asked, *([moves] if off else []))
    return made


def _unlikely(told: _Told) -> str:
    """Return why what was said of the probe is not believed; nothing where it is."""
    if len(told.logs) < _FEWEST:
        return f"gives {len(told.logs)} log-probabilities for the {len(_PROBE)} letters of a known text"
    if not any(told.logs):
        return "gives a log-probability of 0 for every token of a known text"
    if len(set(told.logs)) == 1:
        return "gives every token of a known text the same log-probability"
    if any(two <= one for one, two in pairwise(told.places)):
        return "gives tokens of a known text no rising places"
    return ""


def _only(address: str) -> str:
    """Return the name of the one model that is served.

    Raises:
        TaskError: There are several, or none is told.
    """
    held = Line(address).asked("/models").get("data")
    names = [str(one["id"]) for one in held if isinstance(one, dict) and "id" in one] if isinstance(held, list) else []
    if len(names) != 1:
        known = ", ".join(names[:5]) or "no models"
        raise TaskError(f"{address}: it serves {known}; say which: --model NAME, or {address}{PARTED}NAME")
    return names[0]


def _running(lengths: Sequence[int], start: int) -> list[int]:
    """Return where tokens of such lengths begin, one behind the other."""
    found, at = [], start
    for before in lengths[:-1]:
        at += before
        found.append(at)
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
