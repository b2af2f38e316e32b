"""Python's own arithmetic as a saved graph may call it: on plain values only as far as the result stays small.

A graph computes with shapes, such as ``size // 2``. On tensors these are torch's operations; on plain values powers of
powers and texts times texts would fill any memory from a description of a few bytes.
"""

from __future__ import annotations

import operator
from typing import Any

from whatelse.errors import ArtifactError

_DIGITS, _PARTS = 64, 1000  # Bits of a whole number, parts of a tuple: far more than any shape has.
_PLAIN = (bool, int, float, complex, str, bytes, tuple, list, dict, set, type(None))


def add(a: Any, b: Any) -> Any:  # noqa: ANN401 - tensors and plain values alike
    """Return ``a + b``.

    Args:
        a: A tensor, a number, or parts of a shape.
        b: Likewise.
    """
    _check("add", a, b)
    return operator.add(a, b)


def iadd(a: Any, b: Any) -> Any:  # noqa: ANN401 - as above
    """Return ``a += b``.

    Args:
        a: A tensor, a number, or parts of a shape.
        b: Likewise.
    """
    _check("iadd", a, b)
    return operator.iadd(a, b)  # type: ignore[no-untyped-call] # so in the stubs


def mul(a: Any, b: Any) -> Any:  # noqa: ANN401 - as above
    """Return ``a * b``.

    Args:
        a: A tensor, a number, or parts of a shape.
        b: Likewise.
    """
    _check("mul", a, b)
    return operator.mul(a, b)


def pow(a: Any, b: Any) -> Any:  # noqa: ANN401, A001 - as above; the operator's own name
    """Return ``a ** b``.

    Args:
        a: A tensor or a number.
        b: Likewise.
    """
    _check("pow", a, b)
    return operator.pow(a, b)


def mod(a: Any, b: Any) -> Any:  # noqa: ANN401 - as above
    """Return ``a % b``.

    Args:
        a: A tensor or a number; no text, which would be filled in.
        b: Likewise.
    """
    _check("mod", a, b)
    return operator.mod(a, b)


DOUBTED = {f"operator.{f.__name__}": f for f in (add, iadd, mul, pow, mod)}


def _check(what: str, a: Any, b: Any) -> None:  # noqa: ANN401 - as above
    if isinstance(a, _PLAIN) and isinstance(b, _PLAIN) and not _small(what, a, b):
        raise ArtifactError(f"a saved model computes {what} of plain values that grow beyond any shape; refused")


def _small(what: str, a: Any, b: Any) -> bool:  # noqa: ANN401 - as above
    if isinstance(a, tuple | list) or isinstance(b, tuple | list):
        times = (
            dict.fromkeys(("add", "iadd"), len(a) + len(b))
            if isinstance(a, tuple | list) and isinstance(b, tuple | list)
            else {}
        )
        for several, count in ((a, b), (b, a)):
            if isinstance(several, tuple | list) and isinstance(count, int):
                times["mul"] = len(several) * count
        return times.get(what, _PARTS + 1) <= _PARTS
    if not all(isinstance(v, int | float) for v in (a, b)):
        return False
    bits = [v.bit_length() if isinstance(v, int) else 1 for v in (a, b)]
    if what == "pow" and isinstance(a, int) and isinstance(b, int):
        return bits[1] <= _DIGITS and bits[0] * abs(b) <= _DIGITS
    return max(bits) <= _DIGITS
