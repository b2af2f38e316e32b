"""Parts of figures that are drawn by hand: axes, lines and texts as elements of SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """From numbers to places: ``low`` stands at ``start``, ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a number."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round numbers, about five."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [at * step for at in range(first, math.floor(self.high / step + 1e-9) + 1)]


def place(value: float) -> str:
    """Return a place to a tenth of a pixel, as short as that can be said.

    Args:
        value: In pixels.
    """
    return f"{value:.1f}".removesuffix(".0")


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a line.

    Args:
        x1: Where it begins, in pixels from the left.
        y1: From the top.
        x2: Where it ends.
        y2: Likewise.
        kind: Classes of its style.
    """
    return f'<line class="{kind}" x1="{place(x1)}" y1="{place(y1)}" x2="{place(x2)}" y2="{place(y2)}"/>'


def path(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Return a line through points.

    Args:
        points: In pixels from the left and from the top.
        kind: Classes of its style, besides ``path``.
    """
    places = " ".join(f"{place(x)},{place(y)}" for x, y in points)
    return f'<polyline class="path {kind}" points="{places}"/>'


def text(x: float, y: float, text: str, kind: str = "", turn: str = "") -> str:
    """Return a text, escaped.

    Args:
        x: Where it stands, in pixels from the left.
        y: Its base line, from the top.
        text: What it says.
        kind: Classes of its style; none where those around it have them.
        turn: Attributes that turn it.
    """
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{place(x)}" y="{place(y)}"{turn}>{html.escape(text)}</text>'
