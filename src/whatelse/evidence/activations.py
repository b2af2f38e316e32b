"""Activations, observed: what every layer answers, in the order of the layers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def by_layer(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the activations in an observation, by layer ``(N, units)``.

    Args:
        held: What was seen in a pass, by name; layers as `whatelse.models.activations.keeping` names them.
    """
    # Sorted, as what is kept on disk comes back in any order: the names count the layers.
    return {name.split(" ", 2)[2]: held[name] for name in sorted(held) if name.startswith("layer ")}
