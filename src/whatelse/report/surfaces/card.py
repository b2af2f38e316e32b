"""A section for a model card in the Hugging Face style: metadata in YAML, then Markdown.

The metadata are the Hub's ``model-index``, which takes results on any data. Its other form, files in ``.eval_results``,
is for benchmarks that the Hub has under an id of their own.

Source:
    Mitchell et al., Model Cards for Model Reporting, FAT* 2019, arXiv:1810.03993.
"""

from __future__ import annotations

import json
from collections import Counter

from whatelse.findings import checks
from whatelse.findings import phrasing as words
from whatelse.findings.phrasing import markdown as plain
from whatelse.findings.record import Candidate, Finding, Findings
from whatelse.report._grid import arrange

HELP = "Write a model card in Markdown."


def render(findings: Findings) -> str:
    """Return metadata and Markdown for the measured candidates.

    Args:
        findings: As loaded.
    """
    grid = arrange(findings)
    measured = {c.name: [f for f in findings.findings if f.primary and f.candidate == c.name] for c in grid.candidates}
    models = [candidate for candidate in grid.candidates if measured[candidate.name]]
    parts = [_metadata(findings, models, measured), "# What else changed when this model was compressed"]
    parts.append(plain(findings.study.description))
    parts += [_model(findings, candidate, measured[candidate.name]) for candidate in models]
    parts.append(_limits(findings))
    parts.append(_repeat(findings))
    return "\n\n".join(part for part in parts if part) + "\n"


def _quoted(text: str) -> str:
    """A YAML scalar: what JSON writes, YAML reads."""
    return json.dumps(text)


def _metadata(findings: Findings, models: list[Candidate], measured: dict[str, list[Finding]]) -> str:
    lines = ["---", "tags:", "- whatelse", "- model-compression"]
    if models:
        lines.append("model-index:")
    for candidate in models:
        numbers = [f for f in measured[candidate.name] if f.after is not None and f.verdict != "not trusted"]
        lines += [f"- name: {_quoted(candidate.name)}", "  results:" if numbers else "  results: []"]
        for finding in numbers:
            lines += _result(findings, finding)
    return "\n".join([*lines, "---"])


def _result(findings: Findings, finding: Finding) -> list[str]:
    titles = {task.name: task.title for task in findings.tasks}
    return [
        "  - task:",
        "      type: other",
        f"      name: {_quoted(finding.label)}",
        "    dataset:",
        f"      type: {_quoted(finding.task)}",
        f"      name: {_quoted(titles.get(finding.task, finding.task))}",
        *(['      split: "test"'] if finding.unit_of_analysis == "test example" else []),
        "    metrics:",
        f"    - type: {_quoted(finding.behaviour)}",
        f"      name: {_quoted(f'{finding.label} ({finding.unit}), {finding.verdict} against {finding.control}')}",
        f"      value: {json.dumps(finding.after)}",
    ]


def _model(findings: Findings, candidate: Candidate, measured: list[Finding]) -> str:
    titles = {row.name: row.title for row in findings.rows}
    lines = [f"## {plain(candidate.name)}", "", "### Model details", "", *_details(candidate), "", "### Evaluation", ""]
    lines += ["| What | Verdict | Effect | 95 % interval | Sample | Control |", "| --- | --- | --- | --- | --- | --- |"]
    for f in measured:
        effect = "" if f.effect is None else words.signed(f.effect, f.unit)
        ends = "" if f.low is None or f.high is None else words.interval(f.low, f.high, f.unit)
        sign = words.VERDICTS[f.verdict].symbol
        cells = [titles[f.row] + f": {f.label}", f"{sign} {f.verdict}", effect, ends, words.sample(f), f.control]
        lines.append(f"| {' | '.join(plain(cell) for cell in cells)} |")
    notes = [f"- {plain(titles[f.row])}: {plain(words.reason(f))}" for f in measured if f.verdict not in _PLAIN]
    for f in measured:
        told = "; ".join(text for text in (words.share(f), words.parts(f)) if text)
        notes += [f"- {plain(titles[f.row])}: {plain(told)}."] if told else []
    return "\n".join([*lines, *(["", *notes] if notes else [])])


_PLAIN = frozenset({"improved", "unchanged", "worsened"})


def _details(candidate: Candidate) -> list[str]:
    lines = [f"- **Recipe:** {plain(candidate.recipe)}"]
    costs = (
        ("Parameters", candidate.parameters),
        ("Bytes on disk", candidate.bytes),
        ("Multiply-adds", candidate.macs),
    )
    lines += [f"- **{name}:** {words.count(value)}" for name, value in costs if value is not None]
    if candidate.remarks:
        lines.append(f"- **How it is computed:** {plain('; '.join(candidate.remarks))}")
    if candidate.left_alone:
        lines.append(f"- **Layers left alone:** {plain(', '.join(candidate.left_alone))}")
    return lines


def _limits(findings: Findings) -> str:
    counts = Counter(finding.verdict for finding in findings.findings if finding.primary)
    open_ = [row.title for row in findings.rows if row.status == words.NOT_YET]
    lines = ["## Bias, risks and limitations", ""]
    lines.append(
        "- Verdicts hold for the tasks, the seeds and the margins below. “Inconclusive” is not “unchanged”: "
        f"{counts['inconclusive']} of {counts.total()} primary findings are inconclusive, "
        f"{counts['not trusted']} not trusted, {counts['not measurable']} not measurable, {counts['failed']} failed."
    )
    lines += [f"- Checked: {plain(line)}." for line in checks.told(findings.comparability)]
    lines += [f"- Not measured yet: {plain(title)}." for title in open_]
    apart = [(row.title, row.apart) for row in findings.rows if row.apart is not None]
    lines += [f"- {plain(title)}: {plain(words.elsewhere(one))}" for title, one in apart]
    lines += [f"- Failed: {plain(failure.cell)}: {plain(failure.error)}" for failure in findings.failed]
    return "\n".join(lines)


def _repeat(findings: Findings) -> str:
    lines = ["## How this was measured", ""]
    for task in findings.tasks:
        splits = ", ".join(f"{split} {words.count(n)}" for split, n in task.splits.items())
        lines.append(f"- **{plain(task.title)}:** {plain(task.description)} ({plain(splits)})")
    for row in findings.rows:
        told = words.measured_in(row)
        if told:
            lines.append(f"- **{plain(row.title)}:** {plain(told)}")
    versions = ", ".join(f"{name} {value}" for name, value in words.versions(findings.environment))
    seeds = ", ".join(map(str, findings.seeds)) or "none"
    lines.append(f"- whatelse {plain(findings.whatelse)}; {plain(versions)}; seeds {seeds}.")
    return "\n".join(lines)
