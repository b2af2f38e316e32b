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
    return [f for f in found.findings if f.leading and f.candidate not in controls]


def _verdicts(found: Findings) -> str:
    held = _leading(found)
    counts = Counter("not measurable" if f.why else f.verdict for f in held)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    noise = [f for f in found.findings if f.candidate == Role.TWIN and not f.why and f.control == Role.BASELINE]
    moved = sum(f.verdict in _MOVED for f in noise)
    return (
        f"**Verdicts.** Of {len(held)} comparisons of a compressed network with its control, over all measurements: "
        f"{told}. For scale: training again with another seed moves {moved} of {len(noise)} measurements by more than "
        "their margin."
    )


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
