"""Where the tokens of a text stand among all that a language model might have said: their rank, and what is usual.

A pass of their own, made only for whoever asks: the pass that all questions share needs no rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence import passing, tokens, windows
from whatelse.evidence.windows import Window
from whatelse.models.model import Reads

if TYPE_CHECKING:
    from whatelse.evidence.cache import Evidence

_COLUMNS = ("loss", "rank", "mean", "spread")


def continuations(evidence: Evidence, prefix: int, count: int) -> dict[str, Tensor]:
    """Return what is said of the tokens that go on with the beginning of every document that is long enough.

    ``rows`` are these documents, ``(M,)``; all others ``(M, count)``: ``rank``, how many tokens are likelier than the
    right one, ``likeliest``, 1 where it is the one that is written, and ``loss`` in nats.

    Args:
        evidence: Of a language model.
        prefix: Tokens that are given.
        count: Tokens that follow.

    Raises:
        NotMeasurableError: It does not read, examples are no documents, or all are too short, or too long for it.
    """
    language, model = tokens.of_documents(evidence)
    longest = language.context or model.longest
    if prefix + count > longest:
        raise NotMeasurableError(
            f"needs {prefix} tokens and {count} after them at once; {evidence.subject.name} reads {longest}"
        )

    def make() -> dict[str, Tensor]:
        _, held = tokens.cut(evidence, language, model)
        sizes = torch.bincount(held["document"], minlength=len(evidence.split("test"))).tolist()
        asked, rows = list[Window](), list[int]()
        for row, own in enumerate(torch.split(held["token"], sizes)):
            if len(own) >= prefix + count:
                some = own[: prefix + count].tolist()
                asked.append(
                    windows.continuation([model.start, *some[:prefix]], some[prefix:], longest, len(rows) * count)
                )
                rows.append(row)
        if not rows:
            least = prefix + count
            raise NotMeasurableError(f"needs documents of {least} tokens or more; the longest has {max(sizes)}")
        found = _ranked(evidence, model, asked, len(rows) * count)
        return {"rows": torch.tensor(rows), **{name: values.view(-1, count) for name, values in found.items()}}

    return evidence.once(f"continuations of {prefix} and {count} tokens", make)


def usual(evidence: Evidence) -> dict[str, Tensor]:
    """Return what is said of every token of the documents of test beside what is usual there, ``(T,)`` each.

    ``document`` is the number of its document, ``loss`` its negative log-likelihood; ``mean`` is the mean and
    ``spread`` the standard deviation of the log-likelihood of a token that the model draws itself, in nats.

    Args:
        evidence: Of a language model.

    Raises:
        NotMeasurableError: It does not read, or examples are no documents.
    """
    language, model = tokens.of_documents(evidence)

    def make() -> dict[str, Tensor]:
        asked, held = tokens.cut(evidence, language, model)
        return {"document": held["document"], **_ranked(evidence, model, asked, len(held["token"]))}

    return evidence.once("usual tokens of documents", make)


def first(evidence: Evidence, some: Sequence[int]) -> Tensor:
    """Return the log-odds that a model goes on with one of some tokens after every document of test, ``(N,)`` float64.

    Args:
        evidence: Of a language model.
        some: The tokens: not all that there are.

    Raises:
        NotMeasurableError: It does not read, examples are no documents, or it says something that is no number.
    """
    language, model = tokens.of_documents(evidence)
    longest, asked = language.context or model.longest, list[Window]()
    for row, one in enumerate(language.of(evidence.split("test").inputs)):
        own = model.cut(one.continuations[0], whole=True)[-longest:] or [model.start]
        asked.append(Window(tuple(own), (windows.Said(len(own), (0,), row),)))
    found, ids = torch.zeros(len(asked), dtype=torch.float64), torch.tensor(sorted(some))
    for mine, _, numbers in passing.chunks(evidence, model, asked):
        said = model.said(mine)
        those, rest = said[:, ids.to(said.device)], said.index_fill(1, ids.to(said.device), -torch.inf)
        found[numbers] = (those.logsumexp(1) - rest.logsumexp(1)).double().cpu()
    tokens.check(evidence, found)
    return found


def _ranked(evidence: Evidence, model: Reads, asked: Sequence[Window], count: int) -> dict[str, Tensor]:
    """Return what is said of so many tokens, ``(count,)`` float64 each.

    Raises:
        NotMeasurableError: Something is no number.
    """
    found = {name: torch.zeros(count, dtype=torch.float64) for name in (*_COLUMNS, "likeliest")}
    for mine, targets, numbers in passing.chunks(evidence, model, asked):
        said = model.said(mine)
        for name, values in _places(said, targets.to(said.device)).items():
            found[name][numbers] = values.double().cpu()
    tokens.check(evidence, found["loss"])
    return found


def _places(said: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return where tokens stand among all, of each row of log-odds."""
    own = said.gather(1, targets[:, None])
    logs = said.log_softmax(1)
    chance = logs.exp()
    finite = logs.masked_fill(logs == -torch.inf, 0)  # what cannot be said adds nothing
    mean = torch.linalg.vecdot(chance, finite)
    apart = finite - mean[:, None]
    return {
        "loss": -logs.gather(1, targets[:, None])[:, 0],
        "rank": (said > own).sum(1),
        "likeliest": said.argmax(1) == targets,
        "mean": mean,
        "spread": torch.linalg.vecdot(chance, apart * apart).sqrt(),
    }
