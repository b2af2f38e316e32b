"""From effects to findings: margins, noise floors, corrections for many questions, verdicts."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

import whatelse
from whatelse import items, registry
from whatelse.auditing import claims, overlap, prune_potential
from whatelse.auditing.ends import Ends, unmeasurable
from whatelse.auditing.questions import Measurement
from whatelse.recipe import parse, write
from whatelse.statistics import multiplicity, power, seeds, verdicts
from whatelse.statistics.effect import Effect
from whatelse.store.folder import Store
from whatelse.study.jobs import Job, Plan
from whatelse.study.plan import again_of, pairs, scratch_of
from whatelse.study.spec import Study, template
from whatelse.tasks.task import Task

SCHEMA = 1
_LEVEL = 0.05
_NUMBERS = ("before", "after", "effect", "low", "high", "p", "adjusted_p", "detectable", "needed", "needed_seeds")
COSTS = ("parameters", "bytes", "macs")
Finding = dict[str, Any]


def assemble(
    study: Study, plan: Plan, store: Store, tasks: Mapping[str, Task], exhibits: Sequence[Finding], timing: Finding
) -> Finding:
    """Return everything that leaves the machine room, in the form of the findings file.

    Args:
        study: The study.
        plan: Its work, done.
        store: Where effects are kept.
        tasks: By name.
        exhibits: Examples to show.
        timing: Seconds spent, by kind of work, and when it ended.
    """
    found = _findings(study, plan, store)
    models = list(_candidates(study, plan, store, costs(found)))
    return written(study, tasks, found, models, exhibits, failed_cells(plan, store), timing)


def written(
    study: Study,
    tasks: Mapping[str, Task],
    found: list[Finding],
    models: list[Finding],
    exhibits: Sequence[Finding],
    failed: list[Finding],
    timing: Finding,
) -> Finding:
    """Return the findings file.

    Args:
        study: What was asked.
        tasks: By name.
        found: Findings with their verdicts.
        models: The candidates and controls.
        exhibits: Examples to show.
        failed: Cells that raised.
        timing: Seconds spent, by kind of work, and when it ended.
    """
    record = {
        "schema": SCHEMA,
        "whatelse": whatelse.__version__,
        "created": timing["ended"],
        "study": {
            "name": study.name,
            "title": study.title,
            "description": " ".join(study.description.split()),
            "file": study.text,
            "draws": study.draws,
        },
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "platform": f"{platform.system()} {platform.machine()}",
            "threads": 1,
        },
        "timing": {name: value for name, value in timing.items() if name != "ended"},
        "seeds": study.seeds,
        "tasks": [_task(study, name, task) for name, task in tasks.items()],
        "rows": [_row(study, row.name) for row in study.rows],
        "candidates": models,
        "findings": found,
        "claims": [claims.judge(c, study, found) for c in study.claims],
        "exhibits": list(exhibits),
        "failed": failed,
        "comparability": _comparability(tasks),
    }
    return {**record, "potential": prune_potential.potentials(record)}


def _comparability(tasks: Mapping[str, Task]) -> Finding:
    """Return what was looked at of the data, whatever was found; of pairs of models an audit has its own checklist."""
    found = [one for name, task in tasks.items() for one in overlap.overlaps(task, name)]
    told = [f"task {one.task}: {one.remark}" if len(tasks) > 1 else one.remark for one in found if one.remark]
    return {"pairs": {}, "splits": [asdict(one) for one in found], "remarks": told}


def _findings(study: Study, plan: Plan, store: Store) -> list[Finding]:
    done = (e for e in plan.effects if store.has("effects", e.key))
    return decided(study, ((e.label, e.task, store.load_record("effects", e.key)["effects"]) for e in done))


def decided(study: Study, effects: Iterable[tuple[str, str, list[Finding]]]) -> list[Finding]:
    """Return findings with their verdicts.

    Args:
        study: Its measurements give margins and rows.
        effects: Of every measurement its label, the task, and the effects that `whatelse.auditing.effects` found.
    """
    found: list[Finding] = []
    measurements = {m.label: m for m in study.measurements}
    for label, task, records in effects:
        found += _of_measurement(study, measurements[label], task, records)
    for i, finding in enumerate(found):
        finding["id"] = f"f{i + 1}"
    _correct(study, found)
    for finding in found:
        _decide(finding)
    return found


def _of_measurement(study: Study, m: Measurement, task: str, records: list[Finding]) -> Iterator[Finding]:
    item, card = items.behaviour(m.item), registry.card("behaviours", m.item)
    leading = dict(reversed(pairs(study, m)))
    scratches = {scratch_of(c) for c in study.candidates if "scratch" in c.own_controls}
    retrained = [r for r in records if r["candidate"] == "twin" and not r["why"]]
    # A question about agreement is one on which the baseline agrees with itself alike under every seed.
    agreement = bool(retrained) and item.pair and _perfect(retrained[0]["held"])
    floor = (
        _floor(retrained[0]["per_seed"], agreement=agreement)
        if retrained and item.unit_of_analysis != "layer"
        else None
    )
    floors = _floors(records, agreement=item.pair) if item.unit_of_analysis != "layer" else {}
    for record in records:
        yield {
            "row": m.row,
            "behaviour": m.item,
            "settings": m.settings,
            "label": m.label,
            "title": card.summary,
            "task": task,
            "seeds": len(study.seeds),
            "unit": item.unit,
            "better": item.better,
            "over": item.unit_of_analysis,
            "agreement": agreement,
            "margin": m.margin,
            "gain": m.gain,
            "floor": floor,
            "floors": floors.get(record["candidate"], floors.get("")),
            "leading": leading.get(record["candidate"]) == record["control"],
            "primary": m.primary and task == m.tasks[0] and leading.get(record["candidate"]) == record["control"],
            "validity": [*record["doubts"], *record["notes"]],
            **record,
            "share": record.get("share") if agreement else None,
            "parts": record.get("parts"),
            "against": record["control"],
            "control": "scratch" if record["control"] in scratches else record["control"],
        }


def _perfect(held: list[float]) -> bool:
    """Say whether the baseline agrees with itself perfectly, whatever the seed: 1, or no difference at all."""
    return float(np.ptp(held)) < 1e-9 and abs(held[0] - round(held[0])) < 1e-6


def _floor(effects: list[float], *, agreement: bool) -> float:
    """Return what retraining alone does: to a number of one model, or to how far two models agree."""
    return abs(float(np.mean(effects))) if agreement else seeds.floor(effects)


def _floors(records: list[Finding], *, agreement: bool) -> dict[str, dict[str, float | None]]:
    """Return what measuring again, and compressing again, does under another seed: by candidate, ``""`` for others."""
    known = [r for r in records if not r["why"] and all(map(math.isfinite, r["per_seed"]))]
    measured = next((r for r in known if r["candidate"] == "retest"), None)
    # Where the baseline agrees with itself perfectly, measuring it again can only move that down.
    one_sided = measured is not None and agreement and _perfect(measured["held"])
    measuring = None if measured is None else _floor(measured["per_seed"], agreement=one_sided)
    again = {r["control"]: r["per_seed"] for r in known if r["candidate"] == again_of(r["control"])}
    found = {name: {"measurement": measuring, "compression": seeds.floor(each)} for name, each in again.items()}
    return found | ({} if measuring is None else {"": {"measurement": measuring, "compression": None}})


def _correct(study: Study, found: list[Finding]) -> None:
    """Give every finding its adjusted p: Holm over a candidate's primary ones, false discovery over its others."""
    for name in {f["candidate"] for f in found}:
        mine = [f for f in found if f["candidate"] == name and not f["why"] and f["over"] != "layer"]
        for primary, adjust in ((True, multiplicity.holm), (False, multiplicity.benjamini_hochberg)):
            family = [f for f in mine if f["primary"] == primary and not math.isnan(f["p"])]
            if family:
                for finding, adjusted in zip(family, adjust([f["p"] for f in family]), strict=True):
                    finding["adjusted_p"] = float(adjusted)
                    # What Holm asks of the first of its family; the others are not known beforehand.
                    finding["level"] = _LEVEL / len(family) if primary else _LEVEL


def _decide(finding: Finding) -> None:
    ends = Ends(**finding.pop("ends", {}))
    if finding["why"]:
        failed = finding.pop("failed", False)
        empty = dict.fromkeys((*_NUMBERS, "room"))
        finding |= {**empty, "per_seed": [], "verdict": "failed" if failed else "not measurable"}
        return
    effect = Effect(**{name: finding[name] for name in Effect._fields})
    finding.setdefault("adjusted_p", finding["p"])
    finding["room"] = ends.shown
    _judge(finding, effect, ends)
    exact = finding["over"] == "layer"
    level = finding.pop("level", _LEVEL)
    # Harm is a bound above 0 where lower is better, one below 0 where higher is.
    below, above = effect.reach(level / 2)
    reach = {"lower": below, "higher": above}.get(finding["better"], max(below, above))
    finding["detectable"] = None if exact else power.detectable(effect.se, level=level, reach=reach)
    finding |= {"needed": None, "needed_seeds": None}
    if finding["verdict"] == "inconclusive":
        of_seeds = seeds.dominate(finding["per_seed"], effect.low, effect.high)
        units = finding["seeds"] if of_seeds else finding["n"]
        name = "needed_seeds" if of_seeds else "needed"
        finding[name] = power.needed(effect.effect, effect.low, effect.high, finding["margin"], units)
    for name, value in finding.items():
        if isinstance(value, float) and not math.isfinite(value):
            finding[name] = None
    for name in ("per_seed", "held"):
        finding[name] = [value if math.isfinite(value) else None for value in finding[name]]


def _judge(finding: Finding, effect: Effect, ends: Ends) -> None:
    """Give a finding its verdict, and say why where it is not measurable after all."""
    doubts = [doubt for doubt in (_miracle(finding, effect), _undefined(finding, effect)) if doubt]
    finding["doubts"] = [*finding["doubts"], *doubts]
    finding["validity"] = [*doubts, *finding["validity"]]
    finding["verdict"] = verdicts.decide(
        effect,
        margin=finding["margin"],
        better=finding["better"],
        adjusted_p=finding["adjusted_p"],
        distrust=finding["doubts"],
        stands=finding["stands"],
    )
    if not finding["doubts"] and not math.isfinite(effect.before):
        finding["why"] = f"{finding['against']} has no such number on these examples: it is not defined there"
    else:
        finding["why"] = unmeasurable(finding, ends)
    if finding["why"]:
        finding["verdict"] = "not measurable"


def _undefined(finding: Finding, effect: Effect) -> str:
    """Return the doubt about a number that is defined for the control alone, or on too few resamples, or nothing."""
    if finding["doubts"] or not math.isfinite(effect.before):
        return ""
    if not math.isfinite(effect.after):
        return f"{finding['candidate']} has no such number on these examples: it is not defined there"
    if not all(map(math.isfinite, effect.numbers)):
        return "there is no interval: on more than 5 % of the resamples the number is not defined"
    return ""


def _miracle(finding: Finding, effect: Effect) -> str:
    """Return the doubt about an improvement that is shown to be larger than can be believed, or nothing."""
    gained = effect.low if finding["better"] == "higher" else -effect.high
    if not finding["gain"] or not gained > finding["gain"]:
        return ""
    return (
        f"implausible gain: shown better by more than {finding['gain']:g}: other data, other preprocessing or leakage "
        "are likelier than a miracle"
    )


def _task(study: Study, name: str, task: Task) -> Finding:
    spec = study.tasks[name]
    return {
        "name": name,
        "title": spec.title,
        "description": spec.description,
        "splits": {split: len(task.splits[split]) for split in task.splits},
        "classes": task.classes,
        "references": spec.references,
        "key": task.key,
    }


def _row(study: Study, name: str) -> Finding:
    row = next(r for r in study.rows if r.name == name)
    lead = next((m for m in study.measurements if m.row == name and m.primary), None)
    if lead is None:
        return {**asdict(row), **dict.fromkeys(("behaviour", "label", "task", "unit", "better", "margin"))}
    item = items.behaviour(lead.item)
    measured = {"behaviour": lead.item, "label": lead.label, "task": lead.tasks[0], "margin": lead.margin}
    return {**asdict(row), **measured, "unit": item.unit, "better": item.better}


def costs(found: list[Finding]) -> dict[str, Finding]:
    """Return what every model costs, from the exact measurements, each under its item's own name.

    Args:
        found: Findings.
    """
    spent: dict[str, Finding] = {}
    for finding in found:
        name = finding["behaviour"].rpartition(".")[2]
        if name in COSTS and finding["after"] is not None:
            spent.setdefault(finding["candidate"], {})[name] = round(finding["after"])
            spent.setdefault(finding["against"], {})[name] = round(finding["before"])
    return spent


def _candidates(study: Study, plan: Plan, store: Store, spent: dict[str, Finding]) -> Iterator[Finding]:
    first = next(iter(study.tasks))
    jobs = {j.subject: j for j in plan.jobs if j.task == first and j.shadow is None and j.seed == study.seeds[0]}
    specs = {c.name: c for c in study.candidates}
    scratches = {scratch_of(c): c for c in study.candidates}
    for name, job in jobs.items():
        spec = specs.get(name) or scratches.get(name)
        steps = parse(template(specs[name].recipe, study.tasks[first])) if name in specs else ()
        knob = _knob(steps)
        yield {
            "name": name,
            "family": spec.family if spec else "",
            "kind": spec.kind if spec else "",
            "level": spec.level if spec else "",
            "knob": knob[1],
            "knob_name": knob[0],
            "recipe": write(tuple(link.step for link in job.chain if link.step is not None)),
            "role": "candidate" if name in specs else "control",
            **dict.fromkeys(COSTS) | spent.get(name, {}),
            "left_alone": _left_alone(job, store),
            "remarks": _remarks(job, store),
        }


def _knob(steps: Sequence[Any]) -> tuple[str, float | None]:
    for step in steps:
        method = items.method(step.name)
        if method.knob:
            return method.knob, getattr(method.configure(dict(step.given)), method.knob)
    return "", None


def _left_alone(job: Job, store: Store) -> list[str]:
    """Return the layers that the steps of a recipe did not touch, training aside."""
    steps = [link for link in job.chain if link.step is not None and not link.step.name.startswith("train.")]
    made = [link.key for link in steps if store.has("models", link.key)]
    return [name for key in made for name in store.load("models", key)[1]["left"]]


def _remarks(job: Job, store: Store) -> list[str]:
    """Return how a model is really computed where a reader might think otherwise, each remark once."""
    last = job.chain[-1].key
    found = store.load("models", last)[1].get("remarks", {}) if store.has("models", last) else {}
    return list(dict.fromkeys(found.values()))


def failed_cells(plan: Plan, store: Store) -> list[Finding]:
    """Return the cells that raised, each with its error.

    Args:
        plan: All work.
        store: Where results are kept.
    """
    found = []
    for job in plan.jobs:
        for cell in job.cells:
            if not store.has("values", cell.key) and store.has("failed", cell.key):
                record = store.load_record("failed", cell.key)
                found.append({"cell": f"{job.name} · {cell.label}", "error": record["error"]})
    return found
