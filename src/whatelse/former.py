"""Behaviours that still answer with values and write beside them on the evidence: gone once every one answers."""

from __future__ import annotations

from typing import Any


def is_one(module: Any) -> bool:  # noqa: ANN401
    """Say whether a module is such a behaviour.

    Args:
        module: Its file.
    """
    summarise = getattr(module, "summarise", None)
    return summarise is not None and "values" in summarise.__code__.co_varnames[:1]


def functions(module: Any, entry: str) -> dict[str, Any]:  # noqa: ANN401
    """Return its functions, of an Answer.

    Args:
        module: Its file.
        entry: ``measure`` or ``compare``.
    """
    return {
        "answer": _answering(entry == "compare", getattr(module, entry)),
        "summarise": _lifted(module.summarise),
        "by_part": _lifted(getattr(module, "by_part", None)),
        "outcomes": _lifted(getattr(module, "outcomes", None), config=True),
    }


def _answering(pair: bool, measure: Any) -> Any:  # noqa: ANN401, FBT001
    import torch  # noqa: PLC0415

    from whatelse import answer as answers  # noqa: PLC0415

    def answer(baseline: Any, candidate: Any, config: Any, rng: Any) -> Any:  # noqa: ANN401
        values = measure(baseline, candidate, config, rng) if pair else measure(candidate, config, rng)
        values = torch.as_tensor(values)
        columns = {"value": values} if values.dim() == 1 else {str(i): values[:, i] for i in range(values.shape[1])}
        shown = [answers.Shown("rebuilt", dict(candidate.pictures))] if candidate.pictures else []
        shown += [answers.Shown("tree", dict(candidate.tree))] if candidate.tree else []
        return answers.Answer(
            columns,
            rows=candidate.rows,
            parts=answers.Parts(tuple(candidate.parts), **candidate.parts_read),
            notes=tuple(candidate.notes),
            doubts=tuple(answers.Doubt(text, text in candidate.flatters) for text in candidate.doubts),
            shown=tuple(shown),
            ends=dict(candidate.ends),
        )

    return answer


def _lifted(function: Any, *, config: bool = False) -> Any:  # noqa: ANN401
    if function is None:
        return None
    if config:
        return lambda answer, config: function(answer.matrix())
    return lambda answer, config, weights: function(answer.matrix(), weights)
