"""On an accelerator the same is measured: with equal arithmetic there and here, but for what a sum rounds.

Run by `test_device.py` in a process of its own: torch starts threads for the devices that it knows at its first
backward pass, and for none that comes later.
"""

import copy
import dataclasses
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from whatelse import items, registry, testing
from whatelse.auditing.questions import default, read_questions
from whatelse.errors import MissingHardwareError, NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.modules.device import training_on
from whatelse.study import audit, run_study, spec
from whatelse.tasks.language import FORMS
from whatelse.testing import samples, written
from whatelse.training import loop

# Wall times do not repeat; and there a pass holds its inputs twice, which is its memory indeed.
OTHERWISE = {"efficiency.latency", "efficiency.memory"}
# What is asked of passages is asked of language models, which these samples only stand for: they compute nowhere.
OTHERWISE |= {name for name in registry.ours("behaviours") if items.behaviour(name).needs & {*FORMS}}


def test_forgetting_to_move_an_input_is_refused_there_as_on_any_accelerator(elsewhere):
    model = torch.nn.Linear(3, 2).to(elsewhere)
    with pytest.raises(RuntimeError, match=r"device|should be the same"):
        model(torch.ones(1, 3))


def evidence(needs, device):
    """Evidence as the contract of behaviours takes it, its models on a device."""
    first, second = samples.pair(needs)
    task = first.task
    _, of = samples.of(needs)
    made = [
        subject.of(
            copy.deepcopy(model), name, name, task.test.inputs[:4], torch.Generator().manual_seed(0),
            tokens=task.vocabulary > 0, classes=task.classes, device=device,
        )
        for model, name in zip(of, ("baseline", "candidate"), strict=True)
    ]  # fmt: skip
    base = Evidence(made[0], task, shadows=first.shadows)
    return base, Evidence(made[1], task, reference=base, shadows=second.shadows)


@pytest.mark.known_answer
@pytest.mark.parametrize("name", sorted(set(registry.ours("behaviours")) - OTHERWISE))
def test_every_behaviour_answers_there_as_here(name, elsewhere):
    item = items.behaviour(name)
    found = []
    for device in ("", elsewhere):
        base, mine = evidence(item.needs, device)
        try:
            found.append(item.answer(base, mine, item.configure({}), written.generator()))
        except NotMeasurableError as error:
            found.append(str(error))
    here, there = found
    if isinstance(here, str):
        assert here == there
        return
    assert list(here.columns) == list(there.columns)
    for column in here.columns:
        assert there.columns[column].device.type == "cpu"
        torch.testing.assert_close(there.columns[column], here.columns[column], rtol=1e-4, atol=1e-5)


@pytest.mark.known_answer
def test_an_audit_there_finds_what_one_here_finds(elsewhere):
    task = testing.images()
    models = [model.eval() for model in testing.models()]
    before = [copy.deepcopy(model.state_dict()) for model in models]
    asked = read_questions(default().replace("draws = 10000", "draws = 200"), "few")
    found = [audit.audit(models[0], {"small": models[1]}, task, asked, device=device) for device in ("", elsewhere)]
    assert not found[1].failed
    for here, there in zip(found[0].findings, found[1].findings, strict=True):
        assert (there.label, there.verdict) == (here.label, here.verdict), there.why
        # A search of a hundred steps makes more of what the order of a sum rounds.
        assert there.effect == pytest.approx(here.effect, rel=1e-4, abs=1e-3)
    for model, state in zip(models, before, strict=True):
        assert {p.device.type for p in model.parameters()} == {"cpu"}, "the user's own stays where it was"
        assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


# All that train; what a soft tree computes with, this device of tests has not.
TRAINING = sorted(
    name
    for name in registry.ours("methods")
    if "epochs" in {f.name for f in dataclasses.fields(items.method(name).config)} and name != "distill.soft_tree"
)


@pytest.mark.known_answer
@pytest.mark.parametrize("name", TRAINING)
def test_every_method_trains_there_as_here(name, elsewhere):
    method, task, made = items.method(name), testing.images(), []
    for device in ("", elsewhere):
        model = testing.models()[0].eval()
        with training_on(device):
            try:
                small = method.compress(model, method.configure({"epochs": 1}), task, written.generator())
            except MissingHardwareError as error:
                pytest.skip(str(error))
        assert {p.device.type for p in [*small.parameters(), *small.buffers()]} == {"cpu"}
        hooks = sum(len(part._forward_pre_hooks) + len(part._forward_hooks) for part in small.modules())
        made.append((small(task.test.inputs), hooks))
    (here, before), (there, after) = made
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-4)
    assert after == before, "hooks of the visit are gone; layers may have their own"


def test_training_there_computes_there(elsewhere):
    model, seen = testing.models()[0], []
    task = testing.images()
    part = next(m for m in model.modules() if isinstance(m, torch.nn.Linear))
    handle = part.register_forward_hook(lambda *given: seen.append(given[2].device.type))
    with training_on(elsewhere):
        loss = loop.hard_labels(task.train.observed)
        loop.fit(model, task.train.inputs, loss, loop.Schedule(1, 0.01, 32), written.generator())
    handle.remove()
    assert set(seen) == {elsewhere}


@pytest.mark.known_answer
def test_a_study_there_finds_what_one_here_finds_and_mixes_no_results(elsewhere, tmp_path):
    known = runpy.run_path(str(Path(__file__).parents[1] / "study" / "conftest.py"))
    known["_arrays"](tmp_path / "own.npz")
    study = spec.parse(known["TINY"].replace("FILE", str(tmp_path / "own.npz")), "tiny.toml")
    found = [run_study.run_study(replace(study, device=device), tmp_path, on="inline") for device in ("", elsewhere)]
    assert not found[1].failed
    models = len(list((tmp_path / "models").iterdir()))
    pairs = list(zip(*(one.findings for one in found), strict=True))
    # Networks that hardly learned waver: where a sum is rounded otherwise, an example in 72 may change sides.
    alike = [there.effect == pytest.approx(here.effect, rel=1e-3, abs=2e-3) for here, there in pairs]
    assert sum(alike) >= 0.8 * len(alike)
    run_study.run_study(replace(study, device=elsewhere), tmp_path, on="inline")
    assert len(list((tmp_path / "models").iterdir())) == models
