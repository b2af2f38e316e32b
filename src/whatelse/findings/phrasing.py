"""How verdicts, numbers and directions are put into words; the same on every surface."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from whatelse.findings.alike import folded
from whatelse.findings.numbers import (
    brief,
    chance,
    count,
    decimals,
    effect_unit,
    interval,
    is_brief,
    is_share,
    lasted,
    number,
    scale,
    signed,
    size,
    state,
    when,
)
from whatelse.findings.record import Apart, Claim, Environment, Finding, Floors, Part, Row

__all__ = [
    "APART",
    "NOT_YET",
    "OUTCOMES",
    "Sign",
    "VERDICTS",
    "before_after",
    "brief",
    "capital",
    "chance",
    "count",
    "decimals",
    "effect_unit",
    "elsewhere",
    "facts",
    "grounds",
    "harm",
    "interval",
    "is_brief",
    "is_share",
    "lasted",
    "measured_in",
    "moved",
    "number",
    "outcome",
    "parts",
    "parts_unit",
    "plural",
    "reason",
    "remarks",
    "sample",
    "scale",
    "share",
    "signed",
    "size",
    "state",
    "versions",
    "when",
    "xml",
]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$@])")
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
NOT_YET = "not measured yet"
APART = "measured apart"


class Sign(NamedTuple):
    """What stands beside a verdict: a symbol, the same in ASCII, a color name of rich, and what it means."""

    symbol: str
    ascii: str
    style: str
    meaning: str


VERDICTS: Mapping[str, Sign] = {
    "improved": Sign("▲", "+", "bold blue", "a change for the better: the 95 % interval excludes zero"),
    "unchanged": Sign("=", "=", "green", "shown equivalent: the 90 % interval lies inside the margin"),
    "worsened": Sign("▼", "-", "bold red", "harm: the 95 % interval excludes zero on the bad side"),
    "inconclusive": Sign("?", "?", "yellow", "neither a change nor its absence is shown; more data needed"),
    "not measurable": Sign("–", "/", "dim", "the question cannot be put to this model; the reason is given"),
    "not trusted": Sign("⚠", "!", "magenta", "the measurement failed one of its own sanity checks"),
    "failed": Sign("×", "x", "reverse red", "the measurement stopped with an error"),
    NOT_YET: Sign("…", ".", "dim", "nobody has measured this yet"),
}

OUTCOMES: Mapping[str, str] = {
    "supported": "the measurements agree with the claim",
    "contradicted": "the measurements say otherwise",
    "level-dependent": "true at some strengths of compression, false at others",
    "indistinguishable": "not told apart from what retraining alone does",
    "not settled": "with other seeds, as many as these, it comes out otherwise too often to say",
    "not measured": "not measured",
}
_SETTLED = 0.9  # of draws of the seeds, in which an outcome must be the same to be said


def outcome(claim: Claim) -> str:
    """Return what is said to have become of a claim: its outcome, or that these seeds do not settle it.

    Args:
        claim: As judged.
    """
    return claim.outcome if claim.settled is None or claim.settled >= _SETTLED else "not settled"


def grounds(claim: Claim, *, brief: bool = False) -> str:
    """Return what an outcome rests on, and how sure it is.

    Args:
        claim: As judged.
        brief: Without the verdicts that were counted.
    """
    reason = re.split(" or |[(]", claim.reason)[0].strip() if brief else claim.reason
    if claim.settled is None:
        return reason
    return f"{reason}. Seeds drawn again: {claim.outcome} in {claim.settled:.0%} of draws"


def harm(better: str) -> str:
    """Return the sentence that says which sign is harm.

    Args:
        better: ``higher`` or ``lower``.
    """
    if better == "higher":
        return "Higher is better, so a negative effect is harm."
    return "Lower is better, so a positive effect is harm."


def measured_in(row: Row) -> str:
    """Return unit, direction and margin of a row in one sentence, or nothing where it has none.

    Args:
        row: A row of the table.
    """
    if row.unit is None or row.better is None:
        return ""
    unit = f"{row.unit} (effects in percentage points, pp)" if is_share(row.unit) else row.unit
    margin = "" if row.margin is None else f" Margin: ±{size(row.margin, row.unit)}."
    return f"Measured in {unit}. {harm(row.better)}{margin}"


def elsewhere(apart: Apart) -> str:
    """Return what a study of its own found, and where its numbers are.

    Args:
        apart: As the row has it.
    """
    return f"{capital(APART)}, by {apart.made_by}: {apart.told} All numbers: {apart.page}."


def reason(finding: Finding) -> str:
    """Return, in one or two sentences, why this verdict was given.

    Args:
        finding: Any finding.
    """
    if finding.verdict == "inconclusive":
        return f"Neither a change nor its absence is shown. {_settled(finding)}"
    if finding.verdict == "unchanged":
        within = "" if finding.margin is None else f" of ±{size(finding.margin, finding.unit)}"
        return f"The 90 % interval lies inside the margin{within}: shown equivalent."
    if finding.verdict in {"improved", "worsened"}:
        side = "better" if finding.verdict == "improved" else "harm"
        return f"The whole 95 % interval lies on the {side} side of zero. {harm(finding.better)}"
    why = finding.why or "; ".join(folded(finding.validity)) or "no reason was recorded"
    return f"{why[0].upper()}{why[1:].rstrip('.')}."


def _settled(finding: Finding) -> str:
    if finding.needed_seeds is not None:
        return (
            f"Seeds vary more than examples: about {count(finding.needed_seeds)} would settle it (now {finding.seeds})."
        )
    if finding.needed is None:
        return "More examples alone would not settle it; more seeds might."
    now = "" if finding.n is None else f" (now {count(finding.n)})"
    return f"About {count(finding.needed)} examples would settle it{now}."


def facts(finding: Finding) -> tuple[tuple[str, str], ...]:
    """Return everything that is known of one finding as pairs of a name and its value in words.

    Args:
        finding: Any finding.
    """
    unit = finding.unit
    pairs = [("Question", finding.label), ("Control → model", before_after(finding, unit))]
    if finding.effect is not None:
        pairs.append(("Effect", signed(finding.effect, unit)))
    if finding.low is not None and finding.high is not None:
        pairs.append(("95 % interval", interval(finding.low, finding.high, unit)))
    if finding.low90 is not None and finding.high90 is not None:
        pairs.append(("90 % interval", interval(finding.low90, finding.high90, unit)))
    if finding.rose is not None and finding.fell is not None:
        pairs.append(("Changed", f"{count(finding.rose)} up, {count(finding.fell)} down"))
    pairs += [("Share", share(finding)), ("Parts", parts(finding))]
    sizes = (
        ("Margin", finding.margin, "±{} counts as no change"),
        ("Believed", finding.gain or None, "no gain above {}"),
        ("Room", finding.room, "at least {} that the control has left to lose"),
        *noise(finding),
        ("Detectable", finding.detectable, "{}, found 4 times in 5"),
    )
    pairs += [(name, form.format(size(v, unit))) for name, v, form in sizes if v is not None]
    pairs += [("Control", finding.control), ("Sample", sample(finding))]
    if finding.p is not None:
        pairs.append(("p", chance(finding.p)))
    if finding.adjusted_p is not None:
        pairs.append(("p, adjusted", chance(finding.adjusted_p)))
    passed = "all checks passed" if finding.effect is not None else ""
    pairs.append(("Validity", "; ".join(folded(finding.validity)) or passed))
    if finding.why:
        pairs.append(("Note", finding.why))
    return tuple((name, value) for name, value in pairs if value)


def noise(finding: Finding) -> tuple[tuple[str, float | None, str], ...]:
    """Return the floors of a finding: name, number, and the form that its size is told in.

    Args:
        finding: Any finding.
    """
    floors = finding.floors or Floors()
    return (
        ("Noise floor", finding.floor, "±{} from retraining alone"),
        ("Floor of compressing", floors.compression, "±{} from compressing again under another seed"),
        ("Floor of measuring", floors.measurement, "±{} from measuring again with other random numbers"),
    )


def share(finding: Finding) -> str:
    """Return where a model stands between knowing nothing and not being compressed, or nothing where it is unknown.

    Args:
        finding: Any finding.
    """
    held = finding.share
    if held is None or held.value is None:
        return ""
    ends = "" if held.low is None or held.high is None else f" ({_percent(held.low)} to {_percent(held.high)})"
    return f"{_percent(held.value)} % of the way from random to placebo{ends}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}".replace("-", "\N{MINUS SIGN}")


def moved(part: Part) -> bool:
    """Tell whether a part is shown to have changed: its p, adjusted over the parts, is below 0.05.

    Args:
        part: Any part.
    """
    return part.effect is not None and part.adjusted_p is not None and part.adjusted_p < 0.05


def parts_unit(finding: Finding) -> str:
    """Return the unit of a finding's parts; bins of confidence hold accuracies whatever is summarized.

    Args:
        finding: Any finding.
    """
    held = finding.parts
    if held is None or held.unit is None:
        return "accuracy" if held is not None and held.kind == "confidence bin" else finding.unit
    return held.unit


def parts(finding: Finding) -> str:
    """Return how many parts changed, and which most, such as ``2 of 9 groups changed, most bold: −3.1 pp``.

    Args:
        finding: Any finding.
    """
    if finding.parts is None:
        return ""
    told = [part for part in finding.parts.items if part.effect is not None]
    if not told:
        return ""
    changed = [part for part in told if moved(part)]
    text = f"{len(changed)} of {len(told)} {plural(len(told), finding.parts.kind)} changed"
    if not changed:
        return text
    most = max(changed, key=lambda part: abs(part.effect or 0))
    name = f"{finding.parts.kind} {most.name}" if most.name.isdigit() else most.name
    return f"{text}, most {name}: {signed(most.effect or 0, parts_unit(finding))}"


def before_after(finding: Finding, unit: str) -> str:
    """Return the control's level and the model's, ``97.1 % → 94.8 %``, or nothing where one is missing.

    Args:
        finding: Any finding.
        unit: The finding's unit, or nothing where the reader has it from a heading.
    """
    if finding.before is None or finding.after is None:
        return ""
    return f"{state(finding.before, unit)} → {state(finding.after, unit)}"


def sample(finding: Finding) -> str:
    """Return how much was looked at, such as ``900 test examples × 5 seeds``.

    Args:
        finding: Any finding.
    """
    parts = []
    if finding.n is not None:
        of = "" if finding.of is None or finding.of == finding.n else f" of {count(finding.of)}"
        held = (
            "" if finding.clusters is None else f" in {count(finding.clusters)} {plural(finding.clusters, 'cluster')}"
        )
        parts.append(f"{count(finding.n)}{of} {plural(finding.of or finding.n, finding.unit_of_analysis)}{held}")
    if finding.seeds is not None:
        parts.append(f"{finding.seeds} {plural(finding.seeds, 'seed')}")
    return " × ".join(parts)


def versions(environment: Environment) -> tuple[tuple[str, str], ...]:
    """Return what the numbers were made with, as pairs of a name and what it was.

    Args:
        environment: As in the findings.
    """
    pairs = (
        ("python", environment.python),
        ("torch", environment.torch),
        ("numpy", environment.numpy),
        ("platform", environment.platform),
        ("threads", "" if environment.threads is None else str(environment.threads)),
        ("made elsewhere", environment.made_elsewhere),
    )
    return tuple((name, value) for name, value in pairs if value)


def plural(n: int, noun: str) -> str:
    """Return a noun in the number that fits.

    Args:
        n: How many.
        noun: In the singular.
    """
    if n == 1:
        return noun
    if noun.endswith("y") and noun[-2:-1] not in set("aeou"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("ch", "ss")) else f"{noun}s"


def capital(text: str) -> str:
    """Return a text with its first letter large and the others as they are.

    Args:
        text: Any text.
    """
    return text[:1].upper() + text[1:]


def remarks(finding: Finding) -> str:
    """Return what else is worth a note in a list of numbers: validity flags, the reason, needed examples.

    Args:
        finding: Any finding.
    """
    parts = [*folded(finding.validity), finding.why]
    if finding.needed is not None:
        parts.append(f"about {count(finding.needed)} examples would settle it")
    if finding.needed_seeds is not None:
        parts.append(f"about {count(finding.needed_seeds)} seeds would settle it")
    return "; ".join(part for part in parts if part)


def xml(text: str) -> str:
    """Return a text without what XML 1.0 has no way to write, escaped or not.

    Args:
        text: Any text.
    """
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def markdown(text: str) -> str:
    """Return a text in which nothing is Markdown or HTML any more, on one line.

    Args:
        text: Any text.
    """
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")
