"""Write the page of a study that ships: what was measured, in a few sentences that are counted, then the table.

    whatelse study adult && python docs/studies/make_page.py adult.json

The sentences are made from the findings, so that they cannot say what was not measured.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from whatelse.findings.record import Finding, Findings, load
from whatelse.findings.roles import Role
from whatelse.report.surfaces import markdown
from whatelse.study import spec

FOLDER = Path(__file__).parent
_MOVED = ("worsened", "improved")
# What everybody looks at, in the study of language models; and what is no damage.
_USUAL = ("perplexity a token", "accuracy")
_SIZES = ("bytes", "parameters")


def page(path: Path) -> str:
    """Return the page of a study.

    Args:
        path: Its findings.
    """
    found = load(path)
    name = found.study.name
    parts = [
        f"# The study `{name}`, measured",
        f"Made by `whatelse study {name}` and `python docs/studies/make_page.py {path.name}`; "
        f"the question, the recipes and the margins are in `src/whatelse/studies/{name}.toml`.",
        _made(found),
        _verdicts(found),
        _beyond(found),
        _moves(found),
        _notes(name),
        markdown.render(found).strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _made(found: Findings) -> str:
    seeds, where = found.seeds, found.environment
    sizes = "; ".join(
        f"{t.title}: {t.splits['train']:,} train and {t.splits['test']:,} test examples" for t in found.tasks
    )
    asked = len(spec.read(found.study.name).seeds)
    fewer = f" The study file asks for {asked} seeds: this run had fewer." if len(seeds) < asked else ""
    return (
        f"**How much.** {len(seeds)} seeds ({', '.join(map(str, seeds))}).{fewer} {sizes}. "
        f"torch {where.torch}, {where.platform}. Few seeds give wide "
        "intervals: "
        "*inconclusive* says that this much work cannot tell."
    )


def _leading(found: Findings) -> list[Finding]:
    controls = spec.read(found.study.name).controls
    again = {c.name for c in found.candidates if c.role == Role.RECOMPRESSED}
    return [f for f in found.findings if f.leading and f.candidate not in controls and f.candidate not in again]


def _verdicts(found: Findings) -> str:
    held = _leading(found)
    counts = Counter("not measurable" if f.why else f.verdict for f in held)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    twins = [f for f in found.findings if f.candidate == Role.TWIN and not f.why and f.control == Role.BASELINE]
    again = {c.name for c in found.candidates if c.role == Role.RECOMPRESSED}
    noise = twins or [f for f in found.findings if f.candidate in again and not f.why]
    what = "training" if twins else "compressing the same model"
    moved = sum(f.verdict in _MOVED for f in noise)
    return (
        f"**Verdicts.** Of {len(held)} comparisons of a compressed network with its control, over all measurements: "
        f"{told}. For scale: {what} again with another seed moves {moved} of {len(noise)} measurements by more than "
        "their margin."
    )


def _beyond(found: Findings) -> str:
    """Say which measurements see damage where perplexity, or accuracy, does not; of language models alone."""
    held = {(f.label, f.candidate): f for f in _leading(found)}
    names = list(dict.fromkeys(f.candidate for f in _leading(found)))
    labels = [label for label in dict.fromkeys(label for label, _ in held) if label not in _SIZES]
    if any((label, names[0]) not in held for label in _USUAL):
        return ""
    head = "**Damage that perplexity and accuracy do not show.**"
    lines = [f"{head} *Worsened* is an interval on the side of harm that reaches beyond the margin.", ""]
    for usual in _USUAL:
        blind = [name for name in names if held[usual, name].verdict != "worsened"]
        lines.append(f"- Where **{usual}** is not worsened ({', '.join(blind) or 'nowhere'}):")
        for label in labels:
            seen = [name for name in blind if held[label, name].verdict == "worsened"]
            if seen and label not in _USUAL:
                told = "; ".join(f"{name} {held[label, name].effect:+.2g}" for name in seen)
                lines.append(f"    - {label} (margin {held[label, seen[0]].margin:g}) is: {told}")
    return "\n".join([*lines, "", *_table(held, names, labels)])


def _table(held: dict[tuple[str, str], Finding], names: list[str], labels: list[str]) -> list[str]:
    """Return every measurement of every candidate as a table: the change, and a mark where it is beyond the margin."""
    marks = {"worsened": " ▼", "improved": " ▲", "unchanged": " =", "inconclusive": " ?"}
    rows = ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for label in labels:
        told = []
        for name in names:
            f = held[label, name]
            told.append("–" if f.why or f.effect is None else f"{f.effect:+.2g}{marks.get(f.verdict, ' ⚠')}")
        rows.append(f"| {label} | " + " | ".join(told) + " |")
    return [
        *rows,
        "",
        "Changes against the control; ▼ worsened, ▲ improved, = unchanged, ? inconclusive, – not measurable.",
    ]


def _moves(found: Findings) -> str:
    lines = []
    labels = dict.fromkeys(f.label for f in found.findings)
    for label in labels:
        moved = [f for f in _leading(found) if f.label == label and not f.why and f.verdict in _MOVED]
        if moved:
            told = "; ".join(
                f"{f.candidate} {f.verdict} from {f.before:.3g} to {f.after:.3g} (change {f.low:+.2g} to {f.high:+.2g})"
                for f in moved
            )
            lines.append(f"- {label}, margin {moved[0].margin:g}: {told}.")
    head = "**What moved by more than its margin**, from the control to the candidate, with the 95 % interval:"
    return "\n".join([head, "", *lines]) if lines else "**What moved by more than its margin**: nothing."


def _notes(name: str) -> str:
    # Written by hand, where a person looked into a finding.
    path = FOLDER / "notes" / f"{name}.md"
    return f"**Read with care.**\n\n{path.read_text('utf-8').strip()}" if path.is_file() else ""


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        text = page(Path(argument))
        (FOLDER / f"{Path(argument).stem}.md").write_text(text, "utf-8")
