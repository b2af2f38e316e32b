"""The contract of controls."""

from __future__ import annotations

import json
from dataclasses import fields

from whatelse import items, records, registry
from whatelse.errors import ItemError, WhatElseError
from whatelse.findings.roles import Role
from whatelse.items import Control
from whatelse.study import plan, spec
from whatelse.testing import written
from whatelse.testing.contract import Case

_ROLES = tuple(str(role) for role in Role if role not in {Role.BASELINE, Role.CANDIDATE})
_ITSELF = {Role.TWIN, Role.RETEST}  # the baseline with other random numbers: whatever tells them apart is not a recipe
_CANDIDATE, _REFERENCES = "half", "membership"
_STUDY = """
name = "sample"
title = "Sample"
seeds = [0]
[net]
item = "mlp"
[tasks.images]
data = "digits"
title = "Images"
baseline = "train.scratch(epochs=1)"
references = 2
[controls]
{given}
[[candidates]]
name = "half"
family = "prune"
recipe = "prune.magnitude(sparsity=0.5)"
control = "baseline"
own_controls = [{own}]
[[rows]]
name = "performance"
title = "Performance"
[[measurements]]
row = "performance"
item = "generalization.accuracy"
label = "accuracy"
tasks = ["images"]
margin = 0.02
primary = true
[[measurements]]
row = "performance"
item = "membership.reference"
label = "membership"
tasks = ["images"]
margin = 0.02
"""


def it_has_constants_and_no_code(case: Case) -> None:
    """Demand every constant of a control, written out and of the kind that a study reads, and nothing else.

    Args:
        case: The control.
    """
    held = {key for key in vars(case.module) if not key.startswith("_") and key != "annotations"}
    wanted = {field.name.upper() for field in fields(Control) if field.name != "name"}
    more = sorted(held - wanted - {"ITEM", "VERSION"})
    case.demand(not more, f"it has {', '.join(more)}; a control is its constants alone")
    control, said = _control(case), registry.card("controls", case.source.name).constants
    computed = sorted(wanted - set(said))
    case.demand(not computed, f"{', '.join(computed)} is computed; write it out, as listings read it")
    try:
        records.read(Control, vars(control), "", records.Form(ItemError))
    except ItemError as error:
        case.fail(f"of its constants, in small letters: {error}")
    case.demand(control.role in _ROLES, f"ROLE is {control.role!r}; it may be {', '.join(_ROLES)}")


def its_constants_fit_each_other(case: Case) -> None:
    """Demand nothing that a study would pass over, and a name by which the study and the findings mean the same.

    Args:
        case: The control.
    """
    control, own = _control(case), _control(case).after == "candidate"
    if own:
        once = control.named.replace("{candidate}", "", 1)
        case.demand(once != control.named, f"NAMED is {control.named!r}; one of a candidate has {{candidate}} in it")
        case.demand(
            once.strip() and not {"{", "}"} & set(once), f"NAMED is {control.named!r}; it may hold no other {{}}"
        )
    else:
        called = case.source.name.replace("_", " ")
        case.demand(control.named == called, f"NAMED is {control.named!r}; a study names it {called!r}, as its file")
    of_candidate = [key for key in ("recipe", "shadows", "held") if getattr(control, key) == "candidate"]
    case.demand(own or not of_candidate, f"{', '.join(of_candidate).upper()} is candidate, and AFTER is baseline")
    case.demand(
        not own or control.held != "baseline", "HELD is baseline; one of a candidate is held against that or none"
    )
    case.demand(not own or not control.also, "ALSO is for one that serves all candidates; one of a candidate always is")
    # Shadow models are made by the steps of the subject alone, which are not the whole of these.
    chained = own and control.recipe == "study" and control.shadows == "own"
    case.demand(not chained, "SHADOWS is own; one that continues a candidate has none, or those of the candidate")
    case.demand(
        min(control.whole_seed, control.own_seed, control.again) >= 0, "WHOLE_SEED, OWN_SEED, AGAIN are 0 or more"
    )


def a_study_can_be_planned_with_it(case: Case) -> None:
    """Demand a model of its own in the plan of a study, with its role, held against what it says.

    Args:
        case: The control.
    """
    control, study = _control(case), _study(case)
    name = control.named.format(candidate=_CANDIDATE)
    planned = plan.plan(study, {"images": "key of the images"})
    cells = {job.subject: {cell.key: cell.label for cell in job.cells} for job in planned.jobs if job.shadow is None}
    case.demand(cells.get(name), f"a study that names it measures no {name!r}")
    for other, theirs in cells.items():
        same = other != name and set(theirs) & set(cells[name])
        case.demand(not same, f"its cells are those of {other}: nothing tells them apart, neither seeds nor AGAIN")
    roles = {actor.name: str(actor.role) for actor in plan.actors(study)}
    case.demand(roles.get(name) == control.role, f"{name!r} plays the part {roles.get(name)!r} in a study")
    pairs = plan.pairs(study, study.measurements[0])
    for one, other in _wanted(control, name):
        case.demand((one, other) in pairs, f"a study holds {one!r} against no {other!r}")
    referenced = _REFERENCES in cells[name].values()
    case.demand(referenced == bool(control.shadows), "SHADOWS says another thing than what a study measures of it")


CHECKS = (
    written.it_says_what_it_is_and_where_it_comes_from,
    it_has_constants_and_no_code,
    its_constants_fit_each_other,
    a_study_can_be_planned_with_it,
)


def _control(case: Case) -> Control:
    return items.control(case.source.name)


def _study(case: Case) -> spec.Study:
    control, called = _control(case), case.source.name.replace("_", " ")
    recipe = "" if control.role in _ITSELF else "train.finetune(epochs=1)"
    given = f"{json.dumps(called)} = {json.dumps(recipe)}" if control.recipe == "study" else ""
    own = json.dumps(called) if control.after == "candidate" else ""
    try:
        return spec.parse(_STUDY.format(given=given, own=own), "a study with it")
    except WhatElseError as error:
        case.fail(str(error))


def _wanted(control: Control, name: str) -> list[tuple[str, str]]:
    """Return who is held against whom, as the constants say it."""
    against = {"baseline": str(Role.BASELINE), "candidate": _CANDIDATE}
    found = [(name, against[control.held])] if control.held else []
    judges = control.also or (control.after == "candidate" and control.held != "candidate")
    return [*found, *([(_CANDIDATE, name)] if judges else [])]
