"""The section of docs/validation.md on planted harms of language models, which stands by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import planted_language
from scipy.stats import binomtest

Rows = list[dict[str, Any]]
TITLE = "## Language models"
_POWER = 0.8


def told(k: int, n: int) -> str:
    """Return a share with its exact 95 % interval, in per cent."""
    found = binomtest(k, n).proportion_ci(0.95, "exact")
    return f"{100 * k / n:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def sizes(rows: Rows) -> Iterator[dict[str, Any]]:
    """Yield what was found of every harm at every size, mild to strong."""
    for harm in planted_language.HARMS:
        for size in harm.sizes:
            mine = [r for r in rows if r["harm"] == harm.name and r["size"] == size]
            if not mine:
                continue
            mean = {
                k: float(np.mean([r[k] for r in mine if r[k] is not None])) for k in ("effect", "detectable", "ratio")
            }
            count = {k: sum(bool(r[k]) for r in mine) for k in ("found", *planted_language.PEERS)}
            yield {"harm": harm.name, "finder": harm.finder, "size": size, "n": len(mine), **mean, **count}


def broken(rows: Rows) -> list[str]:
    """Return every harm that is found less often, at the effect that reports call detectable, than they promise."""
    large = [one for one in sizes(rows) if abs(one["effect"]) >= one["detectable"]]
    first = {one["harm"]: one for one in reversed(large)}.values()
    return [
        f"{one['harm']}: found {one['found']} times of {one['n']} at size {one['size']}"
        for one in first
        if binomtest(one["found"], one["n"]).proportion_ci(0.95, "exact").high < _POWER
    ]


def section(rows: Rows) -> str:
    """Return the section."""
    every = list(sizes(rows))
    count = max(one["n"] for one in every)
    lines = [
        f"| {one['harm']} | {one['finder']} | {one['size']:g} | {one['effect']:+.3f} | {one['detectable']:.3f} | "
        f"**{told(one['found'], one['n'])}** | {one['ratio']:.4f} | {told(one['perplexity'], one['n'])} |"
        for one in every
    ]
    n, bits = planted_language.N, planted_language.BITS
    about = (
        f"Harms of known size in a decoder of two layers that learned a small language, {n} fresh texts or pairs each time, "
        f"{count} times, over two decoders; {len(planted_language.ASKED)} gated questions at once corrected by Holm. *Found* is "
        "*worsened* by the question that should find it. Beside it the **perplexity** of the harmed model as a multiple of its honest "
        f"counterpart's, on other texts, and how often those call it a regression who look for {planted_language.MORE:.0%} more of it "
        f"alone. The backdoor sleeps in full precision, and wakes when projections are rounded to {bits} bits: its counterpart is the "
        "same rounding of the decoder without it; the size is the share of texts with its trigger. Pronouns are leant to by so many "
        "nats. Canaries were unlearned by changes smaller than a bucket of rounding, to "
        f"{planted_language.FINE} bits, which brings them back; the size is how many stand among the texts. Of the heads "
        "the one is removed that is so many places above the least."
    )
    head = "| harm | question | size | effect | detectable | found | perplexity | perplexity only |"
    return "\n\n".join([TITLE, about, "\n".join([head, "|" + " --- |" * 8, *lines])])


def renew(rows: Rows, root: Path) -> None:
    """Write the section into docs/validation.md anew, before the next one, and leave all others as they are."""
    file = root / "docs" / "validation.md"
    text, made = file.read_text("utf-8"), section(rows)
    held = re.compile(rf"{TITLE}\n.*?(?=\n## |\Z)", re.DOTALL)
    if held.search(text):
        text = held.sub(lambda _: made + "\n", text)
    else:
        before, mark, after = text.partition("\n## Harm to a few")
        text = f"{before}\n{made}\n{mark}{after}"
    file.write_text(text, "utf-8")
