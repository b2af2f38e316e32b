"""What a study file says, checked before any work."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from whatelse import items, limits, recipe, registry, toml_schema
from whatelse.auditing import apart
from whatelse.auditing.questions import DIRECTIONS, Claim, Measurement, Row
from whatelse.errors import StudyError, WhatElseError, nearest

TIERS = ("quick", "full")
# What keys were called before, and what stands in their place.
_FORMER = {
    "controls": {"remeasured": "retest"},
    "candidates": {
        "scratch": 'own_controls = ["scratch"]',
        "again": 'own_controls = ["recompressed"]',
        "full": 'tier = "full"',
    },
    "measurements": {"full": 'tier = "full"', "careful": "full_settings"},
    "tasks": {"careful_references": "full_references"},
}


@dataclass(frozen=True)
class Net:
    """What every baseline starts from: the untrained network ``item`` of ``nets``, with ``settings``; or a ``model``.

    A model that is there is named as a user types it; ``$NAME`` stands for what the environment says. It is the
    baseline of every seed: seeds then tell apart what is random in recipes.
    """

    item: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True)
class TaskSpec:
    """One task: ``data`` door with ``settings``, the ``baseline`` recipe, and ``values`` for recipe templates.

    ``references`` is the number of shadow models for membership, an even number; 0 for none. ``full_references``
    is their number at the tier full (``--full``); 0 leaves it. ``controls`` names the controls that
    this task has; all of the study where it is empty.
    """

    data: str
    title: str
    baseline: str
    description: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    references: int = 0
    full_references: int = 0
    controls: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CandidateSpec:
    """One candidate: what is done to the baseline, and what it is held against.

    ``kind`` tells columns of one family apart that differ in more than strength, such as channels from single weights.
    ``control`` is ``placebo`` where the recipe trains further, ``baseline`` where it does not. ``own_controls`` adds
    controls that serve this candidate alone: ``scratch`` trains its architecture from random weights, ``recompressed``
    compresses the same baseline once more under another seed. One of the ``tier`` full is measured only where that is
    asked for (``--full``).
    """

    name: str
    family: str
    recipe: str
    kind: str = ""
    level: str = ""
    control: str = "placebo"
    own_controls: list[str] = field(default_factory=list)
    tier: str = "quick"


@dataclass(frozen=True)
class Study:
    """A whole study file.

    Attributes:
        name: Short name.
        title: Heading of the report.
        description: A paragraph for the reader.
        seeds: One baseline each.
        net: The untrained network.
        tasks: By name.
        controls: Recipes of ``whatelse list controls``. Placebo, random and weight decay start from the baseline, the
            twin from a baseline of another seed, scratch from each candidate that asks for it; ``retest`` is the
            baseline itself, measured with other random numbers.
        candidates: In the order of the table's columns.
        rows: In the order of the table.
        measurements: What is measured.
        claims: What is tested.
        draws: Resamples an interval.
        device: Where networks are trained and compute, as torch names it, such as ``cuda``; empty for the CPU.
        text: The file as it was read.
    """

    name: str
    title: str
    seeds: list[int]
    net: Net
    tasks: dict[str, TaskSpec]
    controls: dict[str, str]
    candidates: list[CandidateSpec]
    rows: list[Row]
    measurements: list[Measurement]
    claims: list[Claim] = field(default_factory=list)
    description: str = ""
    draws: int = 10_000
    device: str = ""
    text: str = ""


def read(path: Path | str, *, tier: str = "quick") -> Study:
    """Return a study, checked.

    Args:
        path: A TOML file, or the name of a study that comes with the package.
        tier: ``full`` keeps what is of that tier and asks with ``full_settings``; ``quick`` leaves it out.

    Raises:
        StudyError: The file cannot be read, has a wrong or missing key, or names something that is not there.
    """
    return parse(find(str(path)), str(path), tier=tier)


def shipped() -> dict[str, str]:
    """Return the text of every study that comes with the package, by name."""
    folder = resources.files("whatelse").joinpath("studies")
    files = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    return {file.name.removesuffix(".toml"): file.read_text("utf-8") for file in files}


def find(asked: str) -> str:
    """Return the text of a study: of a file, or of one that comes with the package, by its name.

    Args:
        asked: A path, or a name of `shipped`; a file of that name goes first.

    Raises:
        StudyError: There is neither, or the file cannot be read.
    """
    known = {} if Path(asked).is_file() else shipped()
    if asked in known:
        return known[asked]
    try:
        return limits.text(asked)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        hint = f"; {nearest(asked, known)}" if known and "." not in asked else ""
        raise StudyError(f"{asked}: {reason}{hint}") from error


def parse(text: str, where: str, *, tier: str = "quick") -> Study:
    """Return the study of a text, checked.

    Args:
        text: TOML.
        where: Name of the file, for messages.
        tier: One of `TIERS`: ``full`` keeps what is of that tier and asks with ``full_settings``, ``quick`` leaves it
            out; both are checked in any case.

    Raises:
        StudyError: The text is not TOML, has a wrong or missing key, or names something that is not there.
    """
    if tier not in TIERS:
        raise StudyError(f"tier={tier!r}; {nearest(tier, TIERS)}")
    table = toml_schema.parse(text, where)
    try:
        _check_names(table)
        whole = toml_schema.read(Study, {**table, "text": text}, "study", StudyError)
        _check_full(whole)
        tiers = {"full": _full(whole), "quick": _quick(whole)}
        for study in tiers.values():
            _check(study)
    except WhatElseError as error:
        raise StudyError(f"{where}: {error}") from error
    return tiers[tier]


def _full(study: Study) -> Study:
    """Return the study as ``--full`` has it."""
    tasks = {
        name: replace(task, references=task.full_references or task.references) for name, task in study.tasks.items()
    }
    asked = [replace(m, settings={**m.settings, **m.full_settings}) for m in study.measurements]
    return replace(study, tasks=tasks, measurements=asked)


def _quick(study: Study) -> Study:
    """Return the study without what is measured with ``--full`` only.

    A claim that rests on such a measurement keeps no prediction: it is not judged by half of what it says.
    """
    late = {m.label for m in study.measurements if m.tier == "full"}
    return replace(
        study,
        candidates=[c for c in study.candidates if c.tier != "full"],
        measurements=[m for m in study.measurements if m.tier != "full"],
        claims=[replace(c, expect=[]) if late & {e.label for e in c.expect} else c for c in study.claims],
    )


def template(text: str, task: TaskSpec) -> str:
    """Return a recipe with the task's own values put in place of ``{name}``.

    Args:
        text: A recipe template.
        task: Gives the values.

    Raises:
        StudyError: The template names a value that the task does not have.
    """
    try:
        return text.format_map(task.values)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise StudyError(f"recipe {text!r} needs a value {error} that tasks.*.values does not have") from error


@contextmanager
def _at(where: str) -> Generator[None, None, None]:
    try:
        yield
    except WhatElseError as error:
        raise StudyError(f"{where}: {error}") from error


def _check_full(study: Study) -> None:
    """Check what is said of tiers, which is the same for both.

    Raises:
        StudyError: One of them stands where it makes no sense.
    """
    for i, m in enumerate(study.measurements):
        _known(f"measurements[{i}].tier", [m.tier], TIERS)
        if m.where:
            raise StudyError(
                f"measurements[{i}].where={m.where!r}; it is for audits, whose models are there: leave it out"
            )
        if m.tier == "full" and m.primary:
            raise StudyError(f"measurements[{i}]: tier full and primary; a row's verdict must be there without --full")
    for i, c in enumerate(study.candidates):
        _known(f"candidates[{i}].tier", [c.tier], TIERS)
    for name, task in study.tasks.items():
        if task.full_references < 0 or task.full_references % 2:
            raise StudyError(
                f"tasks.{name}.full_references={task.full_references}; an even number, 0 or more, is needed"
            )


def _check(study: Study) -> None:
    if not study.seeds or len(set(study.seeds)) < len(study.seeds):
        raise StudyError(f"study.seeds={study.seeds!r}; at least one seed is needed, none twice")
    if study.draws < 100:
        raise StudyError(f"study.draws={study.draws}; 100 or more are needed")
    _check_net(study)
    _known("controls", study.controls, [name.replace("_", " ") for name in registry.names("controls")])
    for name in study.controls:
        if items.control(name).recipe == "candidate":
            raise StudyError(f"controls: {name!r} has the recipe of its candidate: candidates name it in own_controls")
    _distinct("candidates", [c.name for c in study.candidates])
    for i, candidate in enumerate(study.candidates):
        _known(f"candidates[{i}].control", [candidate.control], _models(study.controls))
        _check_own(f"candidates[{i}].own_controls", candidate.own_controls, study)
    for name, task in study.tasks.items():
        _check_task(f"tasks.{name}", task, study)
    _check_measurements(study)
    for i, claim in enumerate(study.claims):
        _check_claim(f"claims[{i}]", claim, study)


def _check_net(study: Study) -> None:
    """Check what baselines start from.

    Raises:
        StudyError: It is both a network and a model, or neither, or a control asks for another one of it.
    """
    net = study.net
    if not net.model:
        with _at("net"):
            items.net(net.item).configure(net.settings)
        return
    if net.item or net.settings:
        raise StudyError(f"net: item={net.item!r} and model={net.model!r}; give one of them")
    for name in study.controls:
        if items.control(name).whole_seed:
            raise StudyError(
                f"controls: {name!r} is a baseline of another seed, and net.model is one model; leave it out, and give "
                'candidates own_controls = ["recompressed"]'
            )


def _check_own(where: str, names: list[str], study: Study) -> None:
    """Check the controls that serve one candidate alone."""
    own = {n.replace("_", " "): items.control(n) for n in registry.names("controls")}
    _known(where, names, [name for name, control in own.items() if control.after == "candidate"])
    _distinct(where, names)
    _known(where, [name for name in names if own[name].recipe == "study"], study.controls)


def _check_names(table: Mapping[str, Any]) -> None:
    """Refuse what had another name in releases before 0.2, with the new one.

    Raises:
        StudyError: There is such a name.
    """
    for kind in ("controls", "candidates", "measurements", "tasks"):
        held = table.get(kind, {})
        named = held.items() if isinstance(held, Mapping) else enumerate(held) if isinstance(held, list) else ()
        places = [(kind, held)] if kind == "controls" else [(f"{kind}.{at}", one) for at, one in named]
        for place, one in places:
            for old, new in _FORMER[kind].items():
                if isinstance(one, Mapping) and old in one:
                    raise StudyError(f"{place}.{old}: now {new} (since whatelse 0.2)")


def _check_task(where: str, task: TaskSpec, study: Study) -> None:
    with _at(where):
        items.loader(task.data).configure(task.settings)
    if task.references < 0 or task.references % 2:
        raise StudyError(f"{where}.references={task.references}; an even number, 0 or more, is needed")
    _known(f"{where}.controls", task.controls, study.controls)
    for i, candidate in enumerate(study.candidates):
        _known(f"candidates[{i}].control, on {where}", [candidate.control], _models(_controls(study, task)))
    recipes = {f"{where}.baseline": task.baseline}
    recipes |= {f"controls.{name}": text for name, text in study.controls.items()}
    recipes |= {f"candidates[{i}].recipe": c.recipe for i, c in enumerate(study.candidates)}
    for place, text in recipes.items():
        with _at(place):
            recipe.parse(template(text, task))


def _controls(study: Study, task: TaskSpec) -> list[str]:
    return task.controls or list(study.controls)


def _models(controls: Iterable[str]) -> list[str]:
    """Return the controls that are one model for all; a candidate's own ones serve that candidate alone."""
    return ["baseline", *(name for name in controls if items.control(name).after == "baseline")]


def _check_measurements(study: Study) -> None:
    rows = [r.name for r in study.rows]
    _distinct("rows", rows)
    for i, m in enumerate(study.measurements):
        where = f"measurements[{i}]"
        _known(f"{where}.row", [m.row], rows)
        _known(f"{where}.tasks", m.tasks, study.tasks)
        for task in m.tasks:
            _known(
                f"{where}.control",
                [m.control] if m.control else [],
                ["zero", *_models(_controls(study, study.tasks[task]))],
            )
        with _at(where):
            items.behaviour(m.item).configure(m.settings)
        if min(m.margin, m.gain) < 0 or not m.tasks:
            told = f"margin={m.margin}, gain={m.gain}, tasks={m.tasks}"
            raise StudyError(f"{where}: {told}; numbers of 0 or more and a task are needed")
    for row in study.rows:
        primary = [m.label for m in study.measurements if m.row == row.name and m.primary]
        if row.apart:
            with _at(f"row {row.name!r}"):
                apart.read(row.apart)
        if len(primary) != (row.status == "measured" and not row.apart):
            told = "a measured row has one, and one that is measured apart none"
            raise StudyError(f"row {row.name!r} has {len(primary)} primary measurements; {told}")
    _distinct("measurements", [m.label for m in study.measurements])


def _check_claim(where: str, claim: Claim, study: Study) -> None:
    _known(f"{where}.row", [claim.row], [r.name for r in study.rows])
    for e in claim.expect:
        _known(f"{where}.direction", [e.direction], DIRECTIONS)
        _known(f"{where}.label", [e.label], [m.label for m in study.measurements])
        _known(f"{where}.candidates", e.candidates, ["baseline", *(c.name for c in study.candidates)])
        _known(f"{where}.families", e.families, [c.family for c in study.candidates])
        _known(f"{where}.task", [e.task] if e.task else [], study.tasks)


def _known(where: str, asked: Any, known: Any) -> None:  # noqa: ANN401 - any two collections of names
    for name in asked:
        if name not in known:
            raise StudyError(f"{where}: no {name!r}; {nearest(name, set(known))}")


def _distinct(where: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise StudyError(f"{where}: the name {name!r} stands twice")
