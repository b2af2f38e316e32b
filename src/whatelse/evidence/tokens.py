"""What a language model says of every token of every document, and how far from the baseline: one pass of its body.

States are made window by window; log-odds of a chunk of them at a time, which is all that is ever held of the
vocabulary. Beside its own head, a candidate's pass asks that of the baseline for the same tokens, of the states that
the baseline's pass left: nobody passes twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence import passing, windows
from whatelse.evidence.windows import Window
from whatelse.models.model import Likelihoods, Model, Reads
from whatelse.modules.shelf import shelf
from whatelse.tasks.language import DOCUMENTS, Language, Passage

if TYPE_CHECKING:
    from whatelse.evidence.cache import Evidence

_STATES = "states"
_LARGE = 2**28  # bytes of states that go into a file
_FIRST = "needs the same tokens from both models"


def documents(evidence: Evidence) -> dict[str, Tensor]:
    """Return what is said of every token of the documents of test, in their order, ``(T,)`` each.

    ``document`` is the number of its document in test, ``token`` what it is, ``loss`` its negative log-likelihood in
    nats, ``likeliest`` the token that was expected. Of a candidate that cuts these documents as the baseline does and
    has as many tokens, ``divergence`` is ``KL(baseline || candidate)`` of the whole distribution, in nats.

    Args:
        evidence: Of a language model.

    Raises:
        NotMeasurableError: It does not read, examples are no documents, or it says something that is no number.
    """
    language, model = of_documents(evidence)
    return evidence.once("tokens of documents", lambda: _passed(evidence, language, model))


def of_documents(evidence: Evidence) -> tuple[Language, Reads]:
    """Return what is asked, if it is documents, and what reads them.

    Args:
        evidence: Of a language model.

    Raises:
        NotMeasurableError: It does not read, or examples are no documents.
    """
    language, model = _reading(evidence)
    if language.form != DOCUMENTS:
        raise NotMeasurableError(f"needs documents; task {evidence.task.name} is of {language.form}")
    return language, model


def before(evidence: Evidence) -> Tensor:
    """Return how many tokens of its document stand before each token of test in its window, ``(T,)`` int64.

    Args:
        evidence: Of a language model.

    Raises:
        NotMeasurableError: It does not read, or examples are no documents.
    """
    language, model = of_documents(evidence)
    asked, held = cut(evidence, language, model)
    found = torch.zeros(len(held["token"]), dtype=torch.int64)
    for said in (said for window in asked for said in window.said):
        found[said.place : said.place + len(said.targets)] = torch.arange(said.stop - len(said.targets), said.stop) + 1
    _, sizes = torch.unique_consecutive(held["document"], return_counts=True)
    place = torch.cat([torch.arange(size) for size in sizes.tolist()])
    return torch.minimum(found, place)  # what stands before a document is no token of it


def alike(evidence: Evidence) -> None:
    """Refuse to compare token by token what is cut otherwise than by the baseline.

    Args:
        evidence: Of a candidate, or of the baseline.

    Raises:
        NotMeasurableError: Its tokens are others than the baseline's.
    """
    if evidence.reference is None:
        return
    mine, base = documents(evidence), documents(evidence.reference)
    if "divergence" in mine:
        return
    if not _same(mine, base):
        counts = f"{len(mine['token'])} tokens of {evidence.subject.name}, {len(base['token'])} of the baseline"
        raise NotMeasurableError(f"{_FIRST}; their tokenizers cut these documents otherwise: {counts}; bytes are alike")
    sizes = [_reader(one.subject).vocabulary for one in (evidence, evidence.reference)]
    raise NotMeasurableError(f"{_FIRST}; {evidence.subject.name} tells apart {sizes[0]}, the baseline {sizes[1]}")


def losses(evidence: Evidence) -> Tensor:
    """Return the negative log-likelihood of every document of test, its tokens together, in nats, ``(N,)`` float64.

    Args:
        evidence: Of a language model, or of log-likelihoods that somebody recorded.

    Raises:
        NotMeasurableError: As `documents`; or what was recorded is no number.
    """
    known = evidence.subject.source
    if isinstance(known, Likelihoods):
        found = -known.loglikelihoods("test").double()
        check(evidence, found)
        return found
    said = documents(evidence)
    whole = torch.zeros(len(evidence.split("test")), dtype=torch.float64)
    return whole.index_add_(0, said["document"], said["loss"])


def choices(evidence: Evidence, split: str) -> dict[str, Tensor]:
    """Return the log-likelihood of every continuation of every passage of a split, ``logits``, ``(N, continuations)``.

    Minus infinity where a passage has fewer. A continuation of no tokens is as likely as can be: 0.

    Args:
        evidence: Of a language model.
        split: Which passages.

    Raises:
        NotMeasurableError: It does not read, or it says something that is no number.
    """
    language, _ = _reading(evidence)
    return {"logits": weighed(evidence, language.of(evidence.split(split).inputs))}


def weighed(evidence: Evidence, passages: Sequence[Passage]) -> Tensor:
    """Return the log-likelihood of every continuation of some passages, ``(N, continuations)``; minus infinity beyond.

    Args:
        evidence: Of a language model.
        passages: Any, of as many continuations as the task's at most.

    Raises:
        NotMeasurableError: It does not read, or it says something that is no number.
    """
    language, model = _reading(evidence)
    longest = language.context or model.longest
    asked: list[Window] = []
    place, owners = 0, list[int]()
    for row, passage in enumerate(passages):
        for at, (context, text) in enumerate(passage.pairs):
            before, own = windows.cut_pair(model, context, text)
            if own:
                asked.append(windows.continuation(before, own, longest, place))
            owners += [row * evidence.task.classes + at] * len(own)
            place += len(own)
    loss, _ = _read(evidence, model, windows.merged(asked), place, None, shared=True)
    width = evidence.task.classes
    scores = torch.full((len(passages) * width,), -torch.inf, dtype=torch.float64)
    there = [row * width + at for row, one in enumerate(passages) for at in range(len(one.continuations))]
    scores[there] = 0.0
    kept = _kept(asked, place)
    scores.index_add_(0, torch.tensor(owners, dtype=torch.int64)[kept], -loss["loss"][kept])
    return scores.view(len(passages), width).float()


def _reading(evidence: Evidence) -> tuple[Language, Reads]:
    language = evidence.task.language
    if language is None:
        raise NotMeasurableError(f"needs documents; task {evidence.task.name} is of {evidence.task.modality}")
    return language, _reader(evidence.subject)


def _reader(subject: Model) -> Reads:
    if not isinstance(subject.source, Reads):
        raise subject.lacking("reads")
    return subject.source


def cut(evidence: Evidence, language: Language, model: Reads) -> tuple[list[Window], dict[str, Tensor]]:
    """Return the windows of all documents of test, and their tokens: ``document`` and ``token``, ``(T,)`` each.

    Args:
        evidence: Of the model.
        language: What is asked.
        model: What reads.

    Raises:
        NotMeasurableError: There are none.
    """
    longest = language.context or model.longest
    asked: list[Window] = []
    owners, tokens = list[int](), list[int]()
    for row, passage in enumerate(language.of(evidence.split("test").inputs)):
        own = model.cut(passage.continuations[0], whole=True)
        asked += windows.rolling(own, model.start, longest, len(tokens))
        owners += [row] * len(own)
        tokens += own
    if not tokens:
        raise NotMeasurableError(f"needs tokens; {evidence.subject.name} makes none of these documents")
    return asked, {"document": torch.tensor(owners), "token": torch.tensor(tokens)}


def _passed(evidence: Evidence, language: Language, model: Reads) -> dict[str, Tensor]:
    asked, found = cut(evidence, language, model)
    base = evidence.reference
    beside = base if base is not None and _comparable(evidence, base, found) else None
    said, states = _read(evidence, model, asked, len(found["token"]), beside, keep=base is None)
    if states is not None:
        evidence.here(_STATES, lambda: states)
    return {**found, **said}


def _comparable(evidence: Evidence, base: Evidence, mine: dict[str, Tensor]) -> bool:
    """Return whether two models cut the documents alike, and have as many tokens."""
    other = base.subject.source
    if not isinstance(other, Reads):
        return False
    return _same(mine, documents(base)) and other.vocabulary == _reader(evidence.subject).vocabulary


def _same(mine: dict[str, Tensor], base: dict[str, Tensor]) -> bool:
    return all(torch.equal(mine[name], base[name]) for name in ("document", "token"))


def _states(evidence: Evidence) -> Tensor:
    """Return the states of the baseline, which its pass left in this process; they are made anew where it did not."""

    def make() -> Tensor:
        language, model = _reading(evidence)
        asked, _ = cut(evidence, language, model)
        count = sum(len(said.targets) for one in asked for said in one.said)
        _, states = _read(evidence, model, asked, count, None, keep=True)
        assert states is not None
        return states

    return evidence.here(_STATES, make)


def _read(
    evidence: Evidence,
    model: Reads,
    asked: Sequence[Window],
    count: int,
    base: Evidence | None,
    *,
    keep: bool = False,
    shared: bool = False,
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return what is said of so many tokens, and the states, where they are kept.

    Raises:
        NotMeasurableError: Something is no number.
    """
    found = {"loss": torch.zeros(count, dtype=torch.float64), "likeliest": torch.zeros(count, dtype=torch.int64)}
    before = None if base is None else (_states(base), _reader(base.subject))
    if before is not None:
        found["divergence"] = torch.zeros(count, dtype=torch.float64)
    held: Tensor | None = None
    for mine, targets, numbers in passing.chunks(evidence, model, asked, shared=shared):
        if keep:
            held = shelf((count, mine.shape[1]), mine.dtype, _LARGE) if held is None else held
            held[numbers] = mine.cpu()
        other = None if before is None else before[1].said(before[0][numbers])
        for name, values in _chunk(model.said(mine), targets, other).items():
            found[name][numbers] = values.cpu()
    check(evidence, found["loss"][_kept(asked, count)])
    return found, held


def _chunk(said: Tensor, targets: Tensor, other: Tensor | None) -> dict[str, Tensor]:
    """Return loss and likeliest token of some tokens, and how far from another distribution it is."""
    mine = said.log_softmax(1)
    found = {"loss": -mine.gather(1, targets.to(mine.device)[:, None])[:, 0].double(), "likeliest": said.argmax(1)}
    if other is not None:
        found["divergence"] = divergence(other.to(mine.device).log_softmax(1), mine)
    return found


def divergence(base: Tensor, mine: Tensor) -> Tensor:
    """Return ``sum_v p_v (log p_v - log q_v)`` of every row, ``(M,)`` float64; nothing comes of what p rules out.

    Args:
        base: ``log p``, ``(M, vocabulary)``.
        mine: ``log q``, likewise.
    """
    apart = base - mine
    found: Tensor = torch.linalg.vecdot(base.exp(), apart)
    if not bool(found.isfinite().all()):
        found = torch.linalg.vecdot(base.exp(), apart.masked_fill_(base == -torch.inf, 0))
    return found.double().clamp(min=0)


def _kept(asked: Sequence[Window], count: int) -> Tensor:
    """Return which tokens are said: those of a continuation that is longer than fits lose their beginning."""
    kept = torch.zeros(count, dtype=torch.bool)
    for said in (said for one in asked for said in one.said):
        kept[said.place : said.place + len(said.targets)] = True
    return kept


def check(evidence: Evidence, loss: Tensor) -> None:
    """Refuse losses that are no numbers.

    Args:
        evidence: Of the model.
        loss: Any.

    Raises:
        NotMeasurableError: There is one.
    """
    wrong = ~loss.isfinite()
    if bool(wrong.any()):
        what = "NaN" if bool(loss.isnan().any()) else "probability 0"
        what_of = "documents" if isinstance(evidence.subject.source, Likelihoods) else "tokens"
        told = f"{int(wrong.sum())} of {len(loss)} {what_of}"
        raise NotMeasurableError(f"needs a number for all {what_of}; {evidence.subject.name} says {what} of {told}")
