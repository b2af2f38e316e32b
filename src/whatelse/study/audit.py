"""Two or more models that someone else made: from modules and a task to findings."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import numpy as np

from whatelse import items, registry, toml_schema
from whatelse.auditing import preflight, sequential, verdicts
from whatelse.auditing.ask import Failed, ask, asked_alike, clustered, generator, number
from whatelse.auditing.effects import Comparison, SubjectValues
from whatelse.auditing.questions import Measurement, Row
from whatelse.errors import StudyError, WhatElseError, in_short
from whatelse.evidence.cache import Evidence
from whatelse.models import take
from whatelse.models.take import Given
from whatelse.study.plan import again_of, pairs
from whatelse.study.spec import CandidateSpec, Net, Study, TaskSpec
from whatelse.tasks.task import Task

DATA = "data"  # how the one task of an audit is called in its findings
BASELINE = "baseline"
# Controls that a user may hand over beside the candidates; the placebo is what candidates are then held against.
CONTROLS = ("placebo", "twin", "again")
_DRAWS = 100  # resamples below which a tail of 2.5 % is a matter of one or two


@dataclass(frozen=True)
class Questions:
    """What is asked in an audit: a study file without tasks, recipes and seeds.

    Attributes:
        name: Short name.
        title: Heading of the report.
        rows: In the order of the table.
        measurements: What is measured; ``tasks`` is left out.
        description: A paragraph for the reader.
        draws: Resamples an interval.
        text: The file as it was read.
    """

    name: str
    title: str
    rows: list[Row]
    measurements: list[Measurement]
    description: str = ""
    draws: int = 10_000
    text: str = ""


@dataclass
class _Models:
    """Models under audit by name, the baseline first, with their evidence and what the checklist says of them."""

    evidence: dict[str, Evidence] = field(default_factory=dict)
    checks: dict[str, list[preflight.Check]] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    again: dict[int, Evidence] = field(default_factory=dict)


def default() -> str:
    """Return the text of the questions that are asked where none are given."""
    return resources.files("whatelse.auditing").joinpath("default.toml").read_text("utf-8")


def questions(text: str, where: str = "audit.toml") -> Questions:
    """Return the questions of a text, checked.

    Args:
        text: TOML.
        where: Name of the file, for messages.

    Raises:
        StudyError: The text is not TOML, has a wrong or missing key, or names something that is not there.
    """
    table = toml_schema.parse(text, where)
    asked = table.get("measurements", [])
    for measurement in asked if isinstance(asked, list) else []:
        if isinstance(measurement, dict):
            measurement.setdefault("tasks", [DATA])
    try:
        found = toml_schema.read(Questions, {**table, "text": text}, "audit")
        for i, m in enumerate(found.measurements):
            _check(m, f"measurements[{i}]", {r.name for r in found.rows})
        _check_whole(found)
    except WhatElseError as error:
        raise StudyError(f"{where}: {error}") from error
    return found


def _check(m: Measurement, where: str, rows: set[str]) -> None:
    items.behaviour(m.item).configure(m.settings)
    if m.row not in rows:
        raise StudyError(f"{where}.row: no {m.row!r}; there are: {', '.join(sorted(rows))}")
    if m.control not in {"", "zero", BASELINE, *CONTROLS}:
        known = ", ".join((BASELINE, *CONTROLS, "zero"))
        raise StudyError(f"{where}.control: no {m.control!r}; there are: {known}")
    if m.tasks != [DATA]:
        raise StudyError(f"{where}.tasks={m.tasks}; an audit has one task, {DATA!r}; leave tasks out")
    if min(m.margin, m.gain) < 0:
        raise StudyError(f"{where}: margin={m.margin}, gain={m.gain}; numbers of 0 or more are needed")
    if m.costly and not _bounded(m.item):
        raise StudyError(f"{where}: costly, but {m.item} has no RANGE of its values; leave costly out")


def _check_whole(asked: Questions) -> None:
    if asked.draws < _DRAWS:
        raise StudyError(f"draws={asked.draws}; {_DRAWS} or more are needed")
    labels = [m.label for m in asked.measurements]
    for label in labels:
        if labels.count(label) > 1:
            raise StudyError(f"measurements: the label {label!r} stands twice; verdicts go by it")
    rows = [m.row for m in asked.measurements if m.primary]
    for row in rows:
        if rows.count(row) > 1:
            raise StudyError(f"row {row!r} has {rows.count(row)} primary measurements; one gives its verdict")


def _bounded(item: str) -> bool:
    return "RANGE" in registry.card("behaviours", item).constants


def audit(
    baseline: Given,
    candidates: Mapping[str, Given],
    task: Task,
    asked: Questions | None = None,
    *,
    controls: Mapping[str, Given] | None = None,
    seed: int = 0,
    remeasure: int = 0,
    stop: bool = False,
    force: bool = False,
    show: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return the findings on models that were made elsewhere, each held against the baseline on the same examples.

    The models are copied, and measured in evaluation mode. One that cannot be copied is measured itself, and set back
    as it was at the end.

    Args:
        baseline: The model before: a torch module, ``(N, ...)`` to ``(N, classes)``, or what satisfies a protocol of
            `whatelse.models.model`, such as the recorded scores of `whatelse.models.recorded`.
        candidates: The models after, by name.
        task: The examples; verdicts are given on its test split.
        asked: What is asked; `default` where it is None.
        controls: A ``placebo`` (the baseline given the same extra training), which candidates are then held against,
            a ``twin`` (its recipe under another seed), which gives the noise floor, and ``again`` (the one candidate,
            compressed once more under another seed), which gives that of compressing.
        seed: Decides everything random.
        remeasure: How many more times the baseline is measured with other random numbers, for the floor of measuring.
        stop: True ends a ``costly`` measurement once its verdict is clear; a task with clusters is measured whole.
        force: True measures models that should not be compared, and states why they should not.
        show: Called with what is being done.

    Raises:
        StudyError: A name is taken, there is no candidate, a measurement needs a control that is not there, or what
            stops early is to be measured again.
        TaskError: A model cannot be compared with the baseline.
    """
    started, tell, held = time.perf_counter(), show or _silent, dict(controls or {})
    asked = _settled(asked) if asked is not None else questions(default())
    study = study_of(asked, candidates, held, [seed])
    if remeasure < 0 or (remeasure and stop):
        raise StudyError(f"remeasure={remeasure}, stop={stop}; at least 0 is needed, and 0 to stop early")
    held = {again_of(next(iter(candidates))) if name == "again" else name: model for name, model in held.items()}
    with ExitStack() as lent:
        models = _opened({BASELINE: baseline, **held, **candidates}, task, tell, lent, force=force)
        found, failed = _measured(study, models, tell, remeasure=remeasure, stop=stop)
    timing = {"ended": datetime.now(UTC).isoformat(timespec="seconds"), "wall_s": time.perf_counter() - started}
    listed = list(_listed(study, models, verdicts.costs(found)))
    record = verdicts.written(study, {DATA: task}, found, listed, (), failed, timing)
    record["comparability"]["pairs"] = {name: [asdict(check) for check in c] for name, c in models.checks.items()}
    return record


def _measured(
    study: Study, models: _Models, tell: Callable[[str], None], *, remeasure: int, stop: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the findings, and what failed."""
    failed: list[dict[str, Any]] = []
    task = models.evidence[BASELINE].task
    early = stop and not clustered(task)
    effects = [
        (
            m.label,
            DATA,
            (_looked if early and m.costly else _effects)(study, m, models, failed, tell)
            + (_remeasured(study, m, models, remeasure, tell) if remeasure else []),
        )
        for m in study.measurements
    ]
    return verdicts.decided(study, effects), failed


def _settled(asked: Questions) -> Questions:
    """Return questions as a text says them, checked: as read, or where they were changed in memory, as written anew."""
    same = toml_schema.reread(asked, questions)
    if same is not None:
        return same
    return questions(f"{toml_schema.CHANGED}\n{toml_schema.write(asked)}", "questions, changed in memory")


def study_of(asked: Questions, candidates: Collection[str], controls: Collection[str], seeds: Sequence[int]) -> Study:
    """Return the study that an audit's findings are decided by.

    Args:
        asked: What is asked.
        candidates: Names of the models after.
        controls: Names of the controls, out of `CONTROLS`.
        seeds: One, unless several models of a kind stand under each name.

    Raises:
        StudyError: A name is taken, there is no candidate, or a measurement needs a control that is not there.
    """
    names = [BASELINE, *controls, *candidates]
    for name in names:
        if names.count(name) > 1 or (name in candidates and name in {"zero", *CONTROLS}):
            raise StudyError(f"a candidate named {name!r}: that name is taken; choose another")
    if "again" in controls and len(candidates) > 1:
        many = len(candidates)
        raise StudyError(f"controls: 'again' is one candidate compressed once more; there are {many} candidates")
    unknown = set(controls) - set(CONTROLS)
    if unknown:
        raise StudyError(f"controls: no {sorted(unknown)[0]!r}; there are: {', '.join(CONTROLS)}")
    if not candidates:
        raise StudyError("there is no candidate; at least one model to hold against the baseline is needed")
    for m in asked.measurements:
        if m.control in set(CONTROLS) - set(controls):
            raise StudyError(f"measurement {m.label!r} is held against {m.control!r}, which was not handed over")
    against = "placebo" if "placebo" in controls else BASELINE
    return Study(
        name=asked.name,
        title=asked.title,
        description=asked.description,
        seeds=list(seeds),
        net=Net("handed over"),
        tasks={DATA: TaskSpec(data=DATA, title="The data", baseline="")},
        controls=dict.fromkeys((name for name in controls if name != "again"), ""),
        candidates=[
            CandidateSpec(name, family="", recipe="", control=against, again="again" in controls) for name in candidates
        ],
        rows=asked.rows,
        measurements=asked.measurements,
        draws=asked.draws,
        text=asked.text,
    )


def _opened(
    given: Mapping[str, Given], task: Task, tell: Callable[[str], None], lent: ExitStack, *, force: bool
) -> _Models:
    """Return the models with their evidence, after the checklist of every pair."""
    models = _Models()
    training: dict[str, bool] = {}
    for name, model in given.items():
        tell(f"{name}: checking that it can be compared")
        guest = lent.enter_context(take.lent(model, name, task, generator("probe", task.key)))
        training[name] = guest.training
        base = models.evidence.get(BASELINE)
        models.evidence[name] = Evidence(guest.model, task, reference=base)
        models.remarks[name] = list(guest.remarks)
        if base is not None:
            checks = preflight.compare(base.subject, guest.model, task, training=training, force=force)
            models.checks[name] = checks
            stated = (c for c in checks if c.outcome != "same")
            models.remarks[name] += [f"{c.name}: baseline {c.baseline}; this model {c.candidate}" for c in stated]
    return models


def _looked(
    study: Study, m: Measurement, models: _Models, failed: list[dict[str, Any]], tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    rng = generator("looks", m.label, models.evidence[BASELINE].task.key, str(study.seeds[0]))
    family = sum(other.primary for other in study.measurements) if m.primary else 1
    found = sequential.effects(m, models.evidence, pairs(study, m), family, rng, tell)
    for record in found:
        if record.get("failed"):
            failed.append({"cell": f"{record['candidate']} · {m.label}", "error": record["why"]})
    return found


def _effects(
    study: Study, m: Measurement, models: _Models, failed: list[dict[str, Any]], tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    item = items.behaviour(m.item)
    base, seed = models.evidence[BASELINE], study.seeds[0]
    held = Comparison(
        item,
        item.configure(m.settings),
        study.draws,
        np.random.default_rng(number((m.label, base.task.key, str(seed)))),
    )
    for name, mine in models.evidence.items():
        tell(f"{name}: {m.label}")
        seen = SubjectValues()
        _ask(seen, m, mine, base, seed)
        if isinstance(seen.missing, Failed):
            failed.append({"cell": f"{name} · {m.label}", "error": seen.missing.error})
        held.take(name, seen)
    return held.against(pairs(study, m))


def _ask(seen: SubjectValues, m: Measurement, mine: Evidence, base: Evidence, seed: int) -> None:
    item = items.behaviour(m.item)
    given = dict(item.changed(m.settings))
    try:
        seen.add(ask(item, given, mine, base, asked_alike(m.item, given, base.task.key, seed, mine.again)))
    except Exception as error:  # whatever a behaviour raises, the other questions go on
        seen.missing = Failed(f"{type(error).__name__}: {in_short(error)}")


def _remeasured(
    study: Study, m: Measurement, models: _Models, times: int, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the effect of measuring the baseline again, with as many seeds as times."""
    item, base, seed = items.behaviour(m.item), models.evidence[BASELINE], study.seeds[0]
    if item.unit_of_analysis == "layer":
        return []
    tell(f"{BASELINE}, measured again: {m.label}")
    first, others = SubjectValues(), SubjectValues()
    _ask(first, m, base, base, seed)
    first.answers *= times
    for again in range(1, times + 1):
        if again not in models.again:
            models.again[again] = Evidence(base.subject, base.task, reference=base, again=again)
        _ask(others, m, models.again[again], base, seed)
    held = Comparison(
        item, item.configure(m.settings), study.draws, np.random.default_rng(number((m.label, base.task.key, "again")))
    )
    for name, seen in ((BASELINE, first), ("remeasured", others)):
        held.take(name, seen)
    return held.against([("remeasured", BASELINE)])


def _listed(study: Study, models: _Models, spent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    names: Sequence[str] = [c.name for c in study.candidates]
    for name in models.evidence:
        yield {
            "name": name,
            "family": "",
            "kind": "",
            "level": "",
            "knob": None,
            "knob_name": "",
            "recipe": "",
            "role": "candidate" if name in names else "control",
            **dict.fromkeys(verdicts.COSTS) | spent.get(name, {}),
            "left_alone": [],
            "remarks": models.remarks[name],
        }


def _silent(doing: str) -> None:
    del doing
