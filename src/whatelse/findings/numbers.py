"""Numbers and their units as a reader expects them."""

from __future__ import annotations

import math
from datetime import datetime

_SHARES = frozenset({"accuracy", "rate", "share", "fraction", "probability", "percentage"})
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def is_share(unit: str) -> bool:
    """Tell whether a unit is a proportion of one, shown in percent and its effects in percentage points.

    Args:
        unit: As the finding has it, such as ``accuracy`` or ``error rate``.
    """
    return not _SHARES.isdisjoint(unit.lower().replace("-", " ").split())


def scale(unit: str) -> float:
    """Return the factor from a stored number to a shown one: 100 for shares, else 1.

    Args:
        unit: As the finding has it.
    """
    return 100.0 if is_share(unit) else 1.0


def effect_unit(unit: str) -> str:
    """Return the word that follows a shown effect: ``pp`` (percentage points) for shares, else the unit.

    Args:
        unit: As the finding has it.
    """
    return "pp" if is_share(unit) else unit


def decimals(value: float) -> int:
    """Return how many decimals two significant digits need, at most 4.

    Args:
        value: A shown number.
    """
    if value == 0:
        return 0
    rounded = float(f"{value:.1e}")
    return min(4, max(0, 1 - math.floor(math.log10(abs(rounded)))))


def number(value: float, *, plus: bool = False, places: int | None = None) -> str:
    """Return a number with two significant digits, or with given decimals; large ones with k, M, G, T.

    Args:
        value: What to show.
        plus: Whether a positive number gets its sign.
        places: Decimals, where they are given by a neighbor.
    """
    for size, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * size:
            text = f"{abs(value) / size:.{decimals(value / size)}f}{prefix}"
            break
    else:
        text = f"{abs(value):.{decimals(value) if places is None else places}f}"
    if not text.strip("0."):
        return "0"
    sign = "\N{MINUS SIGN}" if value < 0 else "+" if plus else ""
    return sign + text


def signed(value: float, unit: str) -> str:
    """Return an effect with sign and unit, such as ``−2.3 pp``.

    Args:
        value: The effect as stored.
        unit: As the finding has it.
    """
    return _with(number(value * scale(unit), plus=True), effect_unit(unit))


def brief(value: float, unit: str) -> str:
    """Return an effect for a narrow cell: a long unit is left to the details.

    Args:
        value: The effect as stored.
        unit: As the finding has it.
    """
    return signed(value, unit) if is_brief(unit) else _with(number(value, plus=True), "")


def is_brief(unit: str) -> bool:
    """Tell whether a unit is short enough to stand in a narrow cell.

    Args:
        unit: As the finding has it.
    """
    return len(effect_unit(unit)) <= 2 or unit == "bytes"


def _with(text: str, unit: str) -> str:
    """A number and its unit, the prefix beside the unit where that is usual: ``76 kB``, ``38 k parameters``."""
    if text[-1].isalpha():
        text = f"{text[:-1]} {text[-1]}"
        return f"{text}B" if unit == "bytes" else f"{text} {unit}".strip()
    return f"{text} {'B' if unit == 'bytes' else unit}".strip()


def size(value: float, unit: str) -> str:
    """Return an amount that has no direction, such as a margin: ``2.0 pp``.

    Args:
        value: The amount as stored.
        unit: As the finding has it.
    """
    return _with(number(abs(value) * scale(unit)), effect_unit(unit))


def state(value: float, unit: str) -> str:
    """Return a level before or after, such as ``97.1 %`` or ``0.853 cosine``.

    Args:
        value: The summary as stored.
        unit: As the finding has it.
    """
    if is_share(unit):
        return f"{value * 100:.1f} %".replace("-", "\N{MINUS SIGN}")
    places = decimals(value) + 1 if 0 < abs(value) < 100 else None
    return _with(number(value, places=places), unit)


def interval(low: float, high: float, unit: str) -> str:
    """Return an interval, such as ``−3.4 to −1.2 pp``, both ends with the same decimals.

    Args:
        low: Lower end as stored.
        high: Upper end as stored.
        unit: As the finding has it.
    """
    a, b = low * scale(unit), high * scale(unit)
    places = max(decimals(max(abs(a), abs(b))), decimals(b - a) - 1)
    ends = [number(end, plus=True, places=places) for end in (a, b)]
    # An end just beside zero must not be rounded onto it: whether zero is inside is what the verdict hangs on.
    ends = [number(e, plus=True) if text == "0" else text for e, text in zip((a, b), ends, strict=True)]
    shown = effect_unit(unit)
    if a == b:
        return _with(ends[0], shown)
    if any(end[-1].isalpha() for end in ends):
        return f"{_with(ends[0], shown)} to {_with(ends[1], shown)}"
    return f"{ends[0]} to {_with(ends[1], shown)}"


def chance(p: float) -> str:
    """Return a p-value, such as ``0.013`` or ``< 0.001``.

    Args:
        p: Between 0 and 1.
    """
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def count(n: int) -> str:
    """Return a count with its thousands set apart, such as ``2,400``.

    Args:
        n: How many.
    """
    return f"{n:,}"


def lasted(value: float) -> str:
    """Return a time, such as ``12.3 s`` or ``1 h 4 min``.

    Args:
        value: Seconds.
    """
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def when(created: str) -> str:
    """Return a moment for a reader, or the text itself where it is none.

    Args:
        created: ISO 8601.
    """
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = moment.tzname() or ""
    return f"{moment.day} {moment:%B %Y, %H:%M} {zone}".strip()
