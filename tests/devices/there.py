"""On an accelerator the same is measured: with equal arithmetic there and here, but for what a sum rounds.

Run by `test_device.py` in a process of its own: torch starts threads for the devices that it knows at its first
backward pass, and for none that comes later.
"""

import copy

import pytest
import torch

from whatelse import items, registry, testing
from whatelse.auditing.questions import default, read_questions
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.study import audit
from whatelse.tasks.language import FORMS
from whatelse.testing import samples, written

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
