"""A line of a log of lm-eval (``samples_*.jsonl``): what was asked, what was right, and what a model answered.

Log-likelihoods of choices (``multiple_choice``, and ``loglikelihood`` of one) and of whole documents (``rolling``) are
read. A line knows its example by three hashes, of the document, of the prompt and of the target: two lines are of the
same question where all three agree.

Source:
    Gao et al., lm-evaluation-harness, Zenodo 2023, doi:10.5281/zenodo.10256836: ``evaluator.py`` writes the lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whatelse.errors import TaskError, shown
from whatelse.tasks.language import Passage

HASHES = ("doc_hash", "prompt_hash", "target_hash")
_NEEDED = ("doc_hash", "arguments", "resps")
_MUTUAL = "acc_mutual_info"  # asks for every choice once more, without its question


@dataclass(frozen=True)
class Sample:
    """One example of a log.

    Attributes:
        number: ``doc_id``.
        hashes: By the names of `HASHES`.
        passage: What was asked; of a document that alone.
        right: Number of the right choice.
        scores: The log-likelihood of every continuation, in nats.
        document: Whether it is a document, and not an item.
        doc: The row of the data that it was made of.
    """

    number: int
    hashes: Mapping[str, str]
    passage: Passage
    right: int
    scores: tuple[float, ...]
    document: bool
    doc: Mapping[str, Any]


def looks(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a line of such a log.

    Args:
        row: As it stands in its file.
    """
    return all(name in row for name in _NEEDED)


def read(row: Mapping[str, Any], told: str) -> Sample:
    """Return what a line of a log holds.

    Args:
        row: As it stands in its file.
        told: How messages call it.

    Raises:
        TaskError: It is no line of such a log, or holds no log-likelihoods.
    """
    lacking = [name for name in (*_NEEDED, *HASHES) if name not in row]
    if lacking:
        raise TaskError(f"{told}: no {lacking[0]!r}; a line that lm-eval wrote with --log_samples is needed")
    asked = [_arguments(one, told) for one in _listed(row["arguments"], told)]
    scores = [_number(one, told) for one in row["resps"]] if isinstance(row["resps"], list) else []
    if not scores or len(scores) != len(asked):
        raise TaskError(f"{told}: {len(scores)} answers to {len(asked)} requests; as many are needed")
    if _MUTUAL in (row.get("metrics") or ()):
        asked, scores = asked[: len(asked) // 2], scores[: len(scores) // 2]
    hashes = {name: str(row[name]) for name in HASHES}
    mark = " ".join(hashes.values())
    doc = row["doc"] if isinstance(row.get("doc"), dict) else {}
    number = row["doc_id"] if isinstance(row.get("doc_id"), int) else -1
    if len(asked[0]) == 1:
        return Sample(number, hashes, Passage("", (asked[0][0],), mark=mark), 0, tuple(scores[:1]), True, doc)
    texts = tuple(text for _, text in asked)
    contexts = tuple(context for context, _ in asked)
    own = contexts if len(set(contexts)) > 1 else ()
    sizes = tuple(len(text.strip()) for text in texts)
    passage = Passage(contexts[0], texts, sizes, mark, own)
    return Sample(number, hashes, passage, _right(row.get("target"), passage, told), tuple(scores), False, doc)


def _listed(arguments: object, told: str) -> list[object]:
    """Return the requests of a line: a list, or by name as newer releases have them.

    Raises:
        TaskError: There are none.
    """
    found = list(arguments.values()) if isinstance(arguments, dict) else arguments
    if not isinstance(found, list) or not found:
        raise TaskError(f"{told}: arguments are {shown(arguments, 60)}; requests are needed")
    return found


def _arguments(request: object, told: str) -> Sequence[str]:
    """Return what was asked: a context and what follows, or a document.

    Raises:
        TaskError: It is something else, such as a generation.
    """
    found = list(request.values()) if isinstance(request, dict) else request
    if not isinstance(found, list | tuple) or not 1 <= len(found) <= 2 or not all(isinstance(t, str) for t in found):  # noqa: PLR2004 - a pair
        raise TaskError(f"{told}: a request is {shown(request, 60)}; log-likelihoods are read, no generations")
    return list(found)


def _number(answer: object, told: str) -> float:
    """Return the log-likelihood of an answer, which stands in lists, as text.

    Raises:
        TaskError: It is none.
    """
    found = answer
    while isinstance(found, list) and found:
        found = found[0]
    try:
        return float(found)  # type: ignore[arg-type] # whatever stands there
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"{told}: an answer is {shown(answer, 60)}; log-likelihoods are read, no generations"
        ) from error


def _right(target: object, passage: Passage, told: str) -> int:
    """Return which continuation is right: by its number or its text; the only one of one.

    Raises:
        TaskError: It is none of them.
    """
    texts = [text.strip() for text in passage.continuations]
    said = str(target).strip()
    if len(texts) == 1:
        return 0
    if said.isdigit() and int(said) < len(texts) and said not in texts:
        return int(said)
    if texts.count(said) == 1:
        return texts.index(said)
    raise TaskError(
        f"{told}: target is {shown(target, 60)}; the number or the text of one of {len(texts)} choices is needed"
    )
