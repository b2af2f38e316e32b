"""Changes of bytes and of plain data, each drawn from a generator."""

from __future__ import annotations

import copy
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 7, 255, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 10**9, 10**12, 10**30, -(10**9)),
    *(0.5, -0.5, 1e-300, 1e300, float("inf"), float("nan"), True, False, None, "", "x", "a" * 300),
    *([], [1], [10**6, 10**6], [[1]], {}, {"kind": "Linear"}, {"node": "x"}, [0] * 50),
)


def raw(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with some of them changed, cut out, repeated, or the end cut off.

    Args:
        data: Any.
        rng: Source of the change.
    """
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3, 10))):
        at, span = rng.randrange(len(made) + 1), rng.choice((1, 1, 2, 8, 100))
        way = rng.randrange(6)
        if way == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            made[at : at + span] = rng.randbytes(span)
        elif way == 2:
            del made[at : at + span]
        elif way == 3:
            made[at:at] = made[at : at + span] * rng.choice((1, 2, 50))
        elif way == 4:
            made[at : at + span] = bytes([rng.choice((0, 255, 127, 128))]) * span
        elif len(made) > 1 and rng.random() < 0.3:
            del made[rng.randrange(len(made)) :]
    return bytes(made)


def plain(data: Any, rng: random.Random) -> Any:
    """Return plain data with some places changed, left out, or put elsewhere.

    Args:
        data: Objects, lists, words and numbers.
        rng: Source of the change.
    """
    made = copy.deepcopy(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(made))
        holder, key = rng.choice(places)
        way = rng.randrange(7)
        if way < 3:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif way == 3 and isinstance(holder[key], int | float):
            holder[key] = holder[key] * rng.choice((-1, 0, 2, 1000, 10**6, 10**9)) + rng.choice((0, 1, -1))
        elif way == 4:
            del holder[key]
        elif way == 5:
            holder[key] = copy.deepcopy(rng.choice(list(_values(made))))
        elif isinstance(holder, dict):
            holder[rng.choice(("x", "kind", "bias", "__class__", "parts", "\0", "a b"))] = copy.deepcopy(
                rng.choice(VALUES)
            )
        if not isinstance(made, dict | list) or not made:
            return made
    return made


def text(data: str, rng: random.Random) -> str:
    """Return a text with words and lines of it changed, repeated or left out.

    Args:
        data: Any.
        rng: Source of the change.
    """
    lines = data.splitlines()
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines)) if lines else 0
        way = rng.randrange(6)
        if not lines:
            return ""
        if way == 0:
            del lines[at]
        elif way == 1:
            lines.insert(at, lines[rng.randrange(len(lines))])
        elif way == 2 and "=" in lines[at]:
            key, _, _ = lines[at].partition("=")
            lines[at] = f"{key}= {_toml(rng.choice(VALUES))}"
        elif way == 3 and lines[at]:
            place = rng.randrange(len(lines[at]))
            lines[at] = lines[at][:place] + rng.choice('[]{}"=#.,\0é9') * rng.choice((1, 1, 3, 200)) + lines[at][place:]
        elif way == 4:
            lines[at] = lines[at].replace("0", "9" * rng.choice((1, 20, 5000)))
        else:
            first = rng.randrange(len(lines))
            lines[at:at] = lines[first : first + rng.choice((1, 3, 20))]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _values(data: Any) -> Any:
    yield from (holder[key] for holder, key in _places(data))


def _places(data: Any) -> Any:
    waiting = [data]
    while waiting:
        here = waiting.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        for key in keys:
            yield here, key
            waiting.append(here[key])
