"""What a record of findings shows of itself in Python and in a notebook.

A file's text is a surface's, found by path as on the command line: findings know that there are surfaces, and none by
name of its module.
"""

from __future__ import annotations

import html
from dataclasses import replace
from typing import TYPE_CHECKING

from whatelse.errors import MissingExtraError
from whatelse.findings.exhibits import without_items

if TYPE_CHECKING:
    import pandas

    from whatelse.findings.record import Finding, Findings
    from whatelse.findings.searched import Searched

_MOST = 40  # lines of a notebook's table


def worst(found: Findings, n: int) -> tuple[Finding, ...]:
    """Return the findings of the largest harm.

    Args:
        found: The record.
        n: How many.
    """
    from whatelse.findings import harm

    return harm.worst(found, n)


def table(found: Findings) -> pandas.DataFrame:
    """Return one line a finding.

    Args:
        found: The record.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    from whatelse.findings import flat

    try:
        import pandas
    except ModuleNotFoundError as error:
        raise MissingExtraError("findings as a table need pandas: pip install 'whatelse[tables]'") from error
    return pandas.DataFrame(flat.lines(found), columns=list(flat.COLUMNS))


def without_examples(found: Findings) -> Findings:
    """Return the record without examples, which are rows of people; how many there were stays.

    Args:
        found: The record.
    """
    return replace(found, exhibits=tuple(without_items(exhibit) for exhibit in found.exhibits))


def rendered(found: Findings, surface: str, *, show_examples: bool) -> str:
    """Return what a surface writes.

    Args:
        found: The record.
        surface: Its name, one of ``whatelse list surfaces``.
        show_examples: Also examples.

    Raises:
        UnknownItemError: There is none of that name.
    """
    from whatelse import surfaces

    return surfaces.surface("surfaces", surface).text(found if show_examples else without_examples(found))


def told(found: Findings) -> str:
    """Return the first answers in a few lines.

    Args:
        found: The record.
    """
    from whatelse.findings import answers

    return answers.told(found)


def of_search(searched: Searched, surface: str) -> str:
    """Return what a surface writes of a search.

    Args:
        searched: The record.
        surface: Its name, one of ``whatelse list search_surfaces``.

    Raises:
        UnknownItemError: There is none of that name.
    """
    from whatelse import surfaces

    return surfaces.surface("search_surfaces", surface).text(searched)


def told_of_search(searched: Searched) -> str:
    """Return what was chosen, and what follows, in a few lines.

    Args:
        searched: The record.
    """
    from whatelse.findings import search_words

    lines = (f"{name}: {text}" for name, text in search_words.answers(searched))
    return "\n".join((search_words.headline(searched), *lines))


def short(found: Findings) -> str:
    """Return one line that says how often each verdict was given.

    Args:
        found: The record.
    """
    from whatelse.findings import phrasing

    verdicts = [f.verdict for f in found.findings if f.primary]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in phrasing.VERDICTS if v in verdicts)
    return f"<Findings {found.study.name!r}: {counts or 'nothing measured'}>"


def small(found: Findings) -> str:
    """Return a table of the primary findings as HTML, for a notebook: no style sheet, no script, everything escaped.

    Args:
        found: The record.
    """
    from whatelse.findings import answers, phrasing

    primary = [f for f in found.findings if f.primary]
    head = "".join(f"<th>{one}</th>" for one in ("Model", "Question", "Verdict", "Effect", "95 % interval"))
    lines = [_cells(f, phrasing.VERDICTS[f.verdict].symbol) for f in primary[:_MOST]]
    more = f"<p>And {len(primary) - _MOST} more; table() has all.</p>" if len(primary) > _MOST else ""
    ships = "".join(
        f"<p><b>{html.escape(one.candidate)}</b>: {html.escape(one.ship)}</p>" for one in answers.answers(found)
    )
    title = html.escape(found.study.title)
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f"<div><p>{title}</p>{ships}{body}{more}</div>"


def _cells(finding: Finding, symbol: str) -> str:
    from whatelse.findings import phrasing

    effect = "" if finding.effect is None else phrasing.signed(finding.effect, finding.unit)
    whole = finding.low is not None and finding.high is not None
    ends = phrasing.interval(finding.low or 0, finding.high or 0, finding.unit) if whole else ""
    told = (finding.candidate, finding.label, f"{symbol} {finding.verdict}", effect, ends)
    return f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in told)}</tr>"
