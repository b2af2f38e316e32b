"""The radius that is chosen where none is given: against the closed form of linear models, and never from test."""

import math
from dataclasses import replace

import pytest
import torch

from whatelse import load_task
from whatelse.attacks import radius as _radius
from whatelse.behaviours.robustness import accuracy, curve, transfer
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models.subject import Subject

SIDE = 16


def linear(scale=1.0, features=SIDE, dtype=torch.float32):
    """Two classes by the sum of the features above a half: the margin over the dual norm is known."""
    model = torch.nn.Linear(features, 2, dtype=dtype)
    with torch.no_grad():
        model.weight.copy_(scale * torch.stack([-torch.ones(features), torch.ones(features)]))
        model.bias.copy_(scale * 0.5 * features * torch.tensor([1.0, -1.0]))
    return model.eval()


def examples(lengths, norm, rng, wrong=0, features=SIDE):
    """Examples whose nearest adversarial point lies at these distances, and so many that are wrong already."""
    # The logits differ by 2 sum(x - .5): under L-infinity the distance is mean(x - .5), under L2 the sum over sqrt(d).
    ahead = lengths if norm == "linf" else lengths / math.sqrt(features)
    labels = torch.arange(len(lengths)) % 2
    inputs = 0.5 + ((2.0 * labels - 1) * ahead)[:, None].expand(-1, features)
    noise = 0.1 * torch.randn(inputs.shape, generator=rng, dtype=inputs.dtype)
    inputs = inputs + noise - noise.mean(1, keepdim=True)
    labels[:wrong] = 1 - labels[:wrong]
    return inputs, labels


def task_of(toy, select, test, bounds=(0.0, 1.0)):
    made = toy.task_of(*test, bounds=bounds)
    return replace(made, splits={**made.splits, "select": toy.split_of(*select)})


def note(chosen):
    (told,) = chosen.notes
    assert "chosen on select" in told
    return told


def by_hand(lengths, ladder, wrong):
    """The step that leaves nearest to half of those that are right, the shorter of two."""
    kept = [(abs(float((lengths[wrong:] > r).sum()) - (len(lengths) - wrong) / 2), r) for r in ladder]
    return min(kept)[1]


@pytest.mark.known_answer
@pytest.mark.parametrize("typical", [0.0007, 0.003, 0.02, 0.09, 0.3])
@pytest.mark.parametrize("wrong", [0, 15])
def test_of_a_linear_model_it_is_the_step_nearest_to_the_median_margin(toy, rng, typical, wrong):
    lengths = typical * torch.exp(0.5 * torch.randn(100, generator=rng))
    select = examples(lengths, "linf", rng, wrong)
    bounds = (-5.0, 5.0)
    mine = toy.evidence_of(linear(), task_of(toy, select, examples(lengths, "linf", rng), bounds))
    ladder = [10 * 2.0**k / 255 for k in range(-3, 8)]
    chosen = _radius.chosen(mine, "linf")
    assert chosen.radius == pytest.approx(by_hand(lengths, ladder, wrong))
    assert f"of the {100 - wrong} that it gets right of 100" in note(chosen)


@pytest.mark.known_answer
@pytest.mark.parametrize("features", [4, 64])
def test_under_the_other_norm_the_steps_are_halves_of_the_range(toy, rng, features):
    lengths = 0.6 * torch.exp(0.4 * torch.randn(100, generator=rng))
    select = examples(lengths, "l2", rng, features=features)
    mine = toy.evidence_of(linear(features=features), task_of(toy, select, select, (-4.0, 4.0)))
    assert _radius.chosen(mine, "l2").radius == by_hand(lengths, [2.0**k / 8 for k in range(8)], 0)
    steps = _radius.ladder((-4.0, 4.0), (features,), "l2").steps
    assert steps[-1] <= 4 * math.sqrt(features) < 2 * steps[-1]  # half the diagonal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scale_and_precision_of_the_scores_do_not_matter(toy, rng, dtype):
    lengths = (0.02 * torch.exp(0.5 * torch.randn(100, generator=rng))).to(dtype)
    select = examples(lengths, "linf", rng)
    found = []
    for scale in (1e-3, 1.0, 1e4):
        mine = toy.evidence_of(linear(scale, dtype=dtype), task_of(toy, select, select))
        found.append(_radius.chosen(mine, "linf").radius)
    assert found == [by_hand(lengths, [2.0**k / 255 for k in range(-3, 8)], 0)] * 3


def test_test_is_not_looked_at_and_candidates_share_the_baselines(toy, rng):
    lengths = 0.02 * torch.exp(0.5 * torch.randn(100, generator=rng))
    select, other = examples(lengths, "linf", rng), examples(10 * lengths, "linf", rng)
    found = []
    for test in (select, other):
        base = toy.evidence_of(linear(), task_of(toy, select, test, (-5.0, 5.0)))
        blind = toy.evidence_of(torch.nn.Sequential(linear(), torch.nn.Identity()), base.task, reference=base)
        blind.subject = replace(blind.subject, without=frozenset({"differentiates", "opens"}))
        weak = toy.evidence_of(torch.nn.Linear(SIDE, 2).eval(), base.task, reference=base)
        quick = accuracy.Config(steps=1, queries=1, examples=5)
        found += [accuracy.compare(base, e, quick, rng).notes[0] for e in (base, blind, weak)]
        assert found[-1] == note(_radius.chosen(base, "linf"))
    assert len(set(found)) == 1


def test_a_model_without_gradients_is_searched(toy, rng):
    lengths = 0.03 * torch.exp(0.7 * torch.randn(100, generator=rng))
    select = examples(lengths, "linf", rng)
    task = task_of(toy, select, select, (-0.5, 1.5))
    closed = Evidence(Subject("closed", linear(), "key", without=frozenset({"differentiates", "opens"})), task)
    wanted = by_hand(lengths, [2 * 2.0**k / 255 for k in range(-3, 8)], 0)
    # A random search of few queries misses some: it may take a step more.
    assert _radius.chosen(closed, "linf").radius in {wanted, 2 * wanted}
    assert closed.passes.backward == 0


def test_a_model_without_gradients_keeps_about_half_under_the_quick_attack_that_it_is_chosen_for():
    digits = load_task("digits")
    x, y = digits.train.inputs.flatten(1), digits.train.targets
    wanted = torch.nn.functional.one_hot(y, 10).float() - 0.1
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    with torch.no_grad():
        model[1].weight.copy_(10 * torch.linalg.solve(x.T @ x + 0.5 * torch.eye(64), x.T @ wanted).T)
        model[1].bias.zero_()
    closed = Evidence(Subject("closed", model, "key", without=frozenset({"differentiates", "opens"})), digits)
    answer = accuracy.compare(closed, closed, accuracy.Config(examples=100), torch.Generator().manual_seed(0))
    right = answer["right"].sum()
    assert 0.2 * right < answer["pooled"].sum() < 0.8 * right


@pytest.mark.known_answer
def test_where_the_shortest_step_is_too_long_the_note_says_so(toy, rng):
    select = examples(torch.full((40,), 1e-5), "linf", rng)
    mine = toy.evidence_of(linear(), task_of(toy, select, select, (0.0, 1.0)))
    chosen = _radius.chosen(mine, "linf")
    assert chosen.radius == 0.125 / 255
    assert note(chosen).endswith(
        "0 of the 40 that it gets right of 40; no standard step is so short that it keeps more"
    )


def test_what_nothing_fools_gets_the_longest_step(toy, rng):
    class Constant(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x.flatten(1)[:, 0] * 0, x.flatten(1)[:, 0] * 0 + 1], 1)

    inputs, labels = torch.rand(50, SIDE, generator=rng), torch.arange(50) % 2
    mine = toy.evidence_of(Constant(), task_of(toy, (inputs, labels), (inputs, labels)))
    chosen = _radius.chosen(mine, "linf")
    assert chosen.radius == 128 / 255
    assert "so long that it keeps less" in note(chosen)


def test_a_baseline_that_is_never_right_has_nothing_to_lose(toy, rng):
    inputs, labels = examples(torch.full((30,), 0.1), "linf", rng, wrong=30)
    mine = toy.evidence_of(linear(), task_of(toy, (inputs, labels), (inputs, labels)))
    for item, pair in ((accuracy, True), (transfer, True), (curve, False)):
        with pytest.raises(NotMeasurableError, match="gets 0 of 30, so that nothing is left to lose"):
            item.compare(mine, mine, item.Config(), rng) if pair else item.measure(mine, item.Config(), rng)


def test_inputs_of_select_that_leave_the_bounds_are_one_line(toy, rng):
    inside = examples(torch.full((30,), 0.1), "linf", rng)
    mine = toy.evidence_of(linear(), task_of(toy, (inside[0] + 3, inside[1]), inside))
    with pytest.raises(NotMeasurableError, match="those of select lie in"):
        _radius.chosen(mine, "linf")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_items_use_it_and_an_explicit_one_stays(toy, rng, norm):
    lengths = 0.02 * torch.exp(0.5 * torch.randn(80, generator=rng)) * (1 if norm == "linf" else 4)
    select = examples(lengths, norm, rng)
    mine = toy.evidence_of(linear(), task_of(toy, select, select))
    chosen = _radius.chosen(mine, norm)
    radius = chosen.radius
    answer = accuracy.compare(mine, mine, accuracy.Config(norm=norm), rng)
    assert answer["pooled"].tolist() == (lengths > radius).float().tolist()
    assert answer.notes[0] == note(chosen)
    assert not answer.ends
    zero = accuracy.compare(mine, mine, accuracy.Config(norm=norm, radius=0.0), rng)
    assert zero["pooled"].tolist() == [1.0] * 80
    assert zero.ends == {"blind": 1.0}  # an attack that fells nobody
    assert not any("chosen on select" in told for told in zero.notes)
    if norm == "linf":
        assert curve.measure(mine, curve.Config(), rng).parts.names == tuple(
            f"{radius * (i + 1) / 2:.3g}" for i in range(6)
        )
        transfer.compare(mine, mine, transfer.Config(least=1), rng)
        assert any(name.startswith(f"apgd 5 linf radius={radius} ") for name in mine._held)


def test_the_choice_is_made_once_and_costs_what_it_says(toy, rng):
    lengths = 0.02 * torch.exp(0.5 * torch.randn(100, generator=rng))
    select = examples(lengths, "linf", rng)
    mine = toy.evidence_of(linear(), task_of(toy, select, select))
    _radius.chosen(mine, "linf")
    spent = mine.passes.forward + mine.passes.backward
    assert 0 < spent <= _radius.effort(mine.task, "linf")
    _radius.chosen(mine, "linf")
    assert mine.passes.forward + mine.passes.backward == spent
    assert _radius.effort(replace(mine.task, bounds=None), "linf") == 0
