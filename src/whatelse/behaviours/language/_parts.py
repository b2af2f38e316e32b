"""What becomes of a language model with one part left out, and which parts of two models are the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from whatelse.behaviours.mechanism import _layers
from whatelse.errors import NotMeasurableError
from whatelse.evidence import passing, tokens, windows
from whatelse.evidence.cache import Evidence
from whatelse.evidence.windows import Window
from whatelse.models.heads import FEED_FORWARD, Part
from whatelse.models.model import Parted, Reads

VERSION = 1  # of what is kept; raised when the same models and texts would give another
DIVERGENCE, LOSS = "divergence", "loss"
_SKETCH, _LOOKED = 32, 256  # numbers that what a head writes is drawn together to, and tokens that are looked at
# Heads stand in another order where they are so alike in it, and so much less where they stood.
_SAME, _MOVED = 0.5, 0.25


def parts(evidence: Evidence) -> tuple[Part, ...]:
    """Return the parts of a model.

    Args:
        evidence: Of a language model.

    Raises:
        NotMeasurableError: It shows none.
    """
    source = evidence.subject.source
    if not isinstance(source, Parted):
        raise evidence.subject.lacking("parts")
    if not source.parts:
        raise NotMeasurableError(
            f"needs heads and feed-forward blocks that are told apart; {evidence.subject.name} calls them otherwise"
        )
    return tuple(source.parts)


def effects(evidence: Evidence, examples: int, most: int, by: str) -> dict[str, Tensor]:
    """Return what leaving out each part does to each of some documents, ``(M,)`` by the name of the part.

    Sums over the tokens in nats: of the divergence from the whole model, or of what the loss rises by. Beside them
    ``rows``, which documents, ``units``, how many tokens each has, and ``spread``, the standard deviation of log-odds
    over the vocabulary, root mean square over tokens. Log-odds of a candidate are scaled to the baseline's spread, so
    that a temperature, which leaves every part what it is, changes nothing.

    Args:
        evidence: Of a language model that shows its parts.
        examples: Documents, evenly apart, at most.
        most: Tokens of each, the first ones.
        by: `DIVERGENCE` or `LOSS`.

    Raises:
        NotMeasurableError: It shows no parts, or says something that is no number.
    """
    every = parts(evidence)
    name = f"effects of parts {VERSION}: {examples} documents, {most} tokens, {by}"
    base = None if evidence.reference is None else effects(evidence.reference, examples, most, by)
    return evidence.once(name, lambda: _effects(evidence, every, asked(evidence, examples, most), by, base))


def asked(evidence: Evidence, examples: int, most: int) -> tuple[Tensor, list[Window]]:
    """Return some documents, and a window of the beginning of each.

    Args:
        evidence: Of a language model.
        examples: Documents, evenly apart, at most.
        most: Tokens of each, the first ones.
    """
    language, model = tokens.of_documents(evidence)
    _, held = tokens.cut(evidence, language, model)
    count, longest = len(evidence.split("test")), language.context or model.longest
    each = torch.split(held["token"], torch.bincount(held["document"], minlength=count).tolist())
    found, rows, place = list[Window](), list[int](), 0
    for row in _layers.spread(count, examples).tolist():
        own = each[row][: min(most, longest)].tolist()
        if own:
            found.append(windows.continuation([model.start], own, longest, place))
            rows.append(row)
            place += len(own)
    return torch.tensor(rows), found


def states(evidence: Evidence, asked: Sequence[Window]) -> Tensor:
    """Return the state from which each token of some windows is said, ``(tokens, width)``, where the model computes.

    Args:
        evidence: Of a language model.
        asked: What `asked` returned.
    """
    source, held = evidence.subject.source, None
    assert isinstance(source, Reads)
    count = sum(len(said.targets) for one in asked for said in one.said)
    for mine, _, numbers in passing.chunks(evidence, source, asked):
        held = mine.new_empty(count, mine.shape[1]) if held is None else held
        held[numbers.to(mine.device)] = mine
    assert held is not None
    return held


def _effects(
    evidence: Evidence,
    every: Sequence[Part],
    some: tuple[Tensor, list[Window]],
    by: str,
    base: dict[str, Tensor] | None,
) -> dict[str, Tensor]:
    rows, windows_of = some
    source = evidence.subject.source
    assert isinstance(source, Parted)
    assert isinstance(source, Reads)
    sizes = torch.tensor([len(one.said[0].targets) for one in windows_of])
    owners = torch.arange(len(windows_of)).repeat_interleave(sizes)
    count = int(sizes.sum())
    held: Tensor | None = None
    square = 0.0
    for mine, _, numbers in passing.chunks(evidence, source, windows_of):
        held = mine.new_empty(count, mine.shape[1]) if held is None else held
        held[numbers.to(mine.device)] = mine
        square += float(_variance(source.said(mine)).sum())
    assert held is not None
    spread = (square / count) ** 0.5
    loud = spread if base is None or not base["spread"][0] else float(base["spread"][0])
    scale = spread / loud if loud and spread else 1.0
    found: dict[str, Tensor] = {"rows": rows, "units": sizes.double(), "spread": torch.full((len(windows_of),), spread)}
    for part in every:
        far = torch.zeros(count, dtype=torch.float64)
        with source.left_out(part):
            for mine, targets, numbers in passing.chunks(evidence, source, windows_of):
                whole = (source.said(held[numbers.to(held.device)]) / scale).log_softmax(1)
                far[numbers] = _apart(whole, (source.said(mine) / scale).log_softmax(1), targets, by).double().cpu()
        tokens.check(evidence, far)
        found[str(part)] = torch.zeros(len(windows_of), dtype=torch.float64).index_add_(0, owners, far)
    return found


def _variance(said: Tensor) -> Tensor:
    """Return the variance of the log-odds of each row, ``(M,)``; of those that are finite."""
    known = said.isfinite()
    each = said.masked_fill(~known, 0).double()
    count = known.sum(1).clamp(min=1)
    return (each * each).sum(1) / count - (each.sum(1) / count) ** 2


def _apart(whole: Tensor, without: Tensor, targets: Tensor, by: str) -> Tensor:
    """Return how far a model without a part is from the whole one at each token, in nats."""
    if by == LOSS:
        own = targets.to(whole.device)[:, None]
        return (whole.gather(1, own) - without.gather(1, own))[:, 0]
    return tokens.divergence(whole, without)


def places(baseline: Evidence, candidate: Evidence) -> tuple[dict[Part, Part], tuple[int, ...]]:
    """Return which part of the candidate is which of the baseline, and the layers whose heads stand in another order.

    Heads of a layer are told by what they write, on the same tokens, and never by their effects.

    Args:
        baseline: Evidence of the model before.
        candidate: Evidence of the model after.

    Raises:
        NotMeasurableError: They have other parts, or a state of another width.
    """
    mine, base = parts(candidate), parts(baseline)
    if mine != base:
        raise NotMeasurableError(
            f"needs the baseline's parts: {candidate.subject.name} has {_told(mine)}, the baseline {_told(base)}"
        )
    known, moved = {part: part for part in base}, []
    sides = [_written(one) for one in (baseline, candidate)]
    for layer, (before, after) in enumerate(zip(*sides, strict=True)):
        if before.shape != after.shape:
            raise NotMeasurableError(f"needs states of the baseline's width; {candidate.subject.name} has others")
        order = _order(before, after)
        if order != sorted(order):
            moved.append(layer)
            known |= {Part(layer, at): Part(layer, head) for at, head in enumerate(order)}
    return known, tuple(moved)


def _told(every: Sequence[Part]) -> str:
    heads = defaultdict[int, int](int)
    for part in every:
        heads[part.layer] += part.head != FEED_FORWARD
    counts = ", ".join(map(str, sorted(set(heads.values()))))
    return f"{len(heads)} layers of {counts} heads"


def _written(evidence: Evidence) -> list[Tensor]:
    """Return what every head of every layer writes, drawn together to a few numbers, ``(heads, tokens)`` a layer."""

    def make() -> dict[str, Tensor]:
        source = evidence.subject.source
        assert isinstance(source, Parted)
        _, some = asked(evidence, 1, _LOOKED)
        inputs, found = torch.tensor([some[0].inputs]), {}
        for layer, each in enumerate(source.written(inputs)):
            draws = torch.Generator().manual_seed(layer)
            way = torch.randn(each.shape[-1], _SKETCH, generator=draws).to(each)
            found[f"{layer:04d}"] = (each @ way).flatten(1).float().cpu()
        return found

    return [one for _, one in sorted(evidence.once(f"what heads write {VERSION}", make).items())]


def _order(before: Tensor, after: Tensor) -> list[int]:
    """Return which head of a layer is each of the baseline's: its own, unless another order is clearly right."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - listing all items must stay light

    sides = [torch.nn.functional.normalize(one.double(), dim=1) for one in (before, after)]
    alike = (sides[0] @ sides[1].T).nan_to_num()
    own = list(range(len(alike)))
    rows, columns = linear_sum_assignment(alike.numpy(), maximize=True)
    moved = [(row, column) for row, column in zip(rows.tolist(), columns.tolist(), strict=True) if row != column]
    if not moved:
        return own
    there = sum(float(alike[row, column]) for row, column in moved) / len(moved)
    here = sum(float(alike[row, row]) for row, _ in moved) / len(moved)
    return columns.tolist() if there > _SAME and here < there - _MOVED else own
