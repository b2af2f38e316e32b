"""The bounds of inputs as a user declares them, held against what the inputs are."""

from __future__ import annotations

from collections.abc import Mapping

from whatelse.datasets import _column
from whatelse.errors import TaskError
from whatelse.tasks.task import Split

HELP = "Smallest and largest value that an input may take, such as 0,1"
_PIXELS = 255


def read(text: str, where: str) -> tuple[float, float] | None:
    """Return declared bounds; None where none are.

    Args:
        text: Two numbers with a comma between, or nothing.
        where: How messages call the data.

    Raises:
        TaskError: They are no two rising numbers.
    """
    if not text.strip():
        return None
    ends = [_column.number(part) for part in text.split(",")]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or ends[0] >= ends[1]:  # noqa: PLR2004 - low and high
        raise TaskError(f"data {where}: bounds={text!r}; two rising numbers are needed, such as bounds='0,1'")
    return ends[0], ends[1]


def check(bounds: tuple[float, float] | None, splits: Mapping[str, Split], where: str) -> None:
    """Refuse inputs outside declared bounds.

    Args:
        bounds: As declared, or None.
        splits: By name.
        where: How messages call the data.

    Raises:
        TaskError: An input lies outside; the likely cause is named.
    """
    if bounds is None:
        return
    for name, split in splits.items():
        if not len(split):
            continue
        low, high = float(split.inputs.min()), float(split.inputs.max())
        if low >= bounds[0] and high <= bounds[1]:
            continue
        pixels = bounds[0] >= -1 and bounds[1] <= 1 < high <= _PIXELS and low >= 0
        likely = (
            "they look like pixels from 0 to 255: divide them by 255, or give them as uint8"
            if pixels
            else "give the bounds that they have, or inputs within these"
        )
        raise TaskError(
            f"data {where}: inputs of {name} reach from {low:g} to {high:g}; bounds are {bounds[0]:g} to "
            f"{bounds[1]:g} (--bounds); {likely}"
        )
