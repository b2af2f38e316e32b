"""Behaviours that still answer with values and write beside them on the evidence: gone once every one answers."""

from __future__ import annotations

from typing import Any


def answering(pair: bool, measure: Any) -> Any:  # noqa: ANN401, FBT001
    """Return what answers with an Answer.

    Args:
        pair: Whether it compares.
        measure: What answers with values.
    """
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


def lifted(function: Any, *, config: bool = False) -> Any:  # noqa: ANN401
    """Return a function of an Answer.

    Args:
        function: One of values; or None.
        config: Whether it takes no weights.
    """
    if function is None:
        return None
    if config:
        return lambda answer, config: function(answer.matrix())
    return lambda answer, config, weights: function(answer.matrix(), weights)
