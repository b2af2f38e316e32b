"""The contract of kinds of exhibit, and a question with its answers that one can be tried on."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from functools import cache

import torch
from torch import nn

from whatelse import items, registry, surfaces
from whatelse.answer import Answer
from whatelse.auditing.questions import Measurement
from whatelse.errors import FindingsError
from whatelse.evidence.cache import Evidence
from whatelse.exhibits import collect
from whatelse.exhibits.asked import BASELINE, Asked, Candidate
from whatelse.findings import codec
from whatelse.findings.exhibits import DEEPEST, Exhibit, height
from whatelse.testing import samples, written
from whatelse.testing.contract import Case
from whatelse.testing.surfaces import findings

_ROW, _TASK, _CANDIDATE, _TWIN, _SEEDS = "performance", "clean", "half", "twin", (0, 1)  # as the sample findings have
_ACCURACY = "generalization.accuracy"


def its_parts_are_in_order(case: Case) -> None:
    """Demand ``VERSION``, ``SCOPE`` and ``exhibits``, and a docstring with a first sentence, which listings print.

    Args:
        case: The kind of exhibit.
    """
    kind = collect.kind(case.source.name)
    takes = tuple(inspect.signature(kind.make).parameters)
    case.demand(takes == ("asked",), f"exhibits takes {takes}; it must take ('asked',)")
    case.demand((kind.make.__doc__ or "").strip(), "exhibits has no docstring")
    card = registry.card("exhibits", case.source.name)
    case.demand(card.summary.endswith("."), "its docstring begins with no sentence, which listings print")
    for name in ("VERSION", "SCOPE"):
        case.demand(name in card.constants, f"{name} is computed; write it out, as listings read it")


def it_yields_what_a_page_can_draw(case: Case) -> None:
    """Demand exhibits of the question that was asked, with something to see, that JSON carries and the page shows.

    Args:
        case: The kind of exhibit, with the ``behaviour`` of whose answers it shows something, and its settings.
    """
    question = _asked(case)
    made = _some(case, question)
    for one in made:
        case.demand(isinstance(one, Exhibit), f"it yielded {type(one).__name__}; an Exhibit is needed")
        case.demand(one.row == question.measurement.row, f"row is {one.row!r}; that of the measurement is needed")
        case.demand(one.task == question.task_name, f"task is {one.task!r}; {question.task_name!r} was asked")
        case.demand(one.candidate in question.models, f"candidate is {one.candidate!r}; that is none of the models")
        case.demand(one.kind.strip(), "kind is empty; a page has it for a heading where there is no title")
        case.demand(one.items or one.tree, "an exhibit has nothing to see; where there is nothing, yield none")
        case.demand(height(one.tree) <= DEEPEST, f"its tree is deeper than {DEEPEST} levels, which a page can draw")
        _demand_pictures(case, one)
        try:
            back = codec.record(Exhibit, json.loads(codec.dumps(one)), "exhibit")
        except (FindingsError, TypeError) as error:
            case.fail(f"JSON cannot carry it: {error}")
        case.demand(back == one, "JSON gives it back otherwise: lines are tuples, numbers are plain")
    page = surfaces.surface("surfaces", "html").render
    assert page is not None
    shown = page(replace(findings(), exhibits=tuple(made)))
    case.demand(shown != page(findings()), "the page shows nothing of it")


def it_repeats_and_leaves_everything_alone(case: Case) -> None:
    """Demand the same exhibits of the same answers, with models, examples and process as they were.

    Args:
        case: As for the first.
    """
    question, state = _asked(case), torch.get_rng_state()
    before = _held(question)
    one, two = (list(collect.kind(case.source.name).make(question)) for _ in range(2))
    case.demand(all(map(torch.equal, before, _held(question))), "it wrote on models, answers or examples")
    case.demand(one == two, "the same answers gave other exhibits")
    written.alone(case, state)


def it_bears_what_is_not_there(case: Case) -> None:
    """Demand no exhibit where nothing was answered and no model is left, and no error of texts.

    Args:
        case: As for the first.
    """
    make, question = collect.kind(case.source.name).make, _asked(case)
    empty = replace(question, answer_of=lambda *_: None, evidence_of=lambda *_: None, twin="")
    for what, found in (("models and answers that are gone", empty), ("texts", asked(texts=True))):
        try:
            made = list(make(found))
        except Exception as error:  # noqa: BLE001 - whatever it raises
            case.fail(f"of {what} it raised {type(error).__name__}: {error}; yield nothing where nothing can be shown")
        case.demand(found is not empty or not made, f"of {what} it shows something")


CHECKS = (
    its_parts_are_in_order,
    it_yields_what_a_page_can_draw,
    it_repeats_and_leaves_everything_alone,
    it_bears_what_is_not_there,
)


def asked(behaviour: str = _ACCURACY, *, texts: bool = False, **settings: object) -> Asked:
    """Return a question that small models of two seeds were asked: baseline, twin, and a pruned candidate, ``half``.

    Answers are made when they are asked for.

    Args:
        behaviour: The question, about images.
        texts: About texts instead, with the same models under both seeds.
        settings: Of the behaviour; the others stand at their default.
    """
    item, task = items.behaviour(behaviour), samples.texts() if texts else samples.images()
    config = item.configure(settings)

    @cache
    def model(name: str, seed: int) -> nn.Module:
        which = 2 * seed + (name == _TWIN)
        base = samples.readers()[which % 2] if texts else samples.learned(which)
        prune, rng = items.method("prune.magnitude"), written.generator()
        lost = {"sparsity": 0.9}
        return prune.compress(base, prune.configure(lost), task, rng) if name == _CANDIDATE else base

    @cache
    def evidence_of(name: str, seed: int) -> Evidence | None:
        if name not in {BASELINE, _CANDIDATE, _TWIN} or seed not in _SEEDS:
            return None
        reference = None if name == BASELINE else evidence_of(BASELINE, seed)
        return samples.watched(model(name, seed), task, name=name, reference=reference)

    @cache
    def answer_of(name: str, seed: int) -> Answer | None:
        base, mine = evidence_of(BASELINE, seed), evidence_of(name, seed)
        return None if base is None or mine is None else item.answer(base, mine, config, written.generator(seed))

    return Asked(
        measurement=Measurement(_ROW, behaviour, [_TASK], 0.02, "sample", dict(settings), primary=True),
        behaviour=item,
        task=task,
        seeds=_SEEDS,
        candidates=(Candidate(_CANDIDATE, BASELINE),),
        twin=_TWIN,
        answer_of=answer_of,
        evidence_of=evidence_of,
    )


def _asked(case: Case) -> Asked:
    given = dict(case.given)
    return asked(given.pop("behaviour", _ACCURACY), **given)


def _some(case: Case, question: Asked) -> list[Exhibit]:
    made = list(collect.kind(case.source.name).make(question))
    if not made:
        name = question.measurement.item
        case.skip(f"of {name} it shows nothing; name a behaviour of which it does: check(item, behaviour=...)")
    return made


def _held(question: Asked) -> list[torch.Tensor]:
    """Return copies of everything that an exhibit might write on."""
    found = [question.task.test.inputs, question.task.test.targets, question.task.train.inputs]
    for name in question.models:
        for seed in question.seeds:
            evidence, answer = question.evidence_of(name, seed), question.answer_of(name, seed)
            found += list(evidence.model.state_dict().values()) if evidence else []
            found += list(answer.columns.values()) if answer else []
            found += [tensor for shown in answer.shown for tensor in shown.tensors.values()] if answer else []
    return [tensor.clone() for tensor in found]


def _demand_pictures(case: Case, exhibit: Exhibit) -> None:
    for one in exhibit.items:
        maps = () if one.maps is None else (one.maps.baseline, one.maps.candidate)
        for image in (one.image, one.reconstruction, *maps):
            widths = {len(line) for line in image or ()}
            even = image is None or (len(widths) == 1 and widths != {0})
            case.demand(even, "a picture has lines of several lengths, or none")
        values = [v for image in (one.image, one.reconstruction) if image for line in image for v in line]
        inside = all(0 <= v <= 1 for v in values)
        case.demand(inside, "a picture has values outside 0 to 1, black to white")
