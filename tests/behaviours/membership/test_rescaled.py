"""What anybody can undo, a scale of the scores or a shift of all classes, changes no attack; what hides is doubted."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from whatelse import items
from whatelse.behaviours.membership import _records, attention, calibration, lira, loss, pair, reference, sensitivity

COUNT, SHADOWS = 240, 6
SIGNALS = ("loss", "confidence", "entropy", "modified entropy")
ASKED = {
    **{f"loss, {signal}": (loss, loss.Config(signal=signal)) for signal in SIGNALS},
    "reference": (reference, reference.Config()),
    "reference, online": (reference, reference.Config(mode="online")),
    "lira": (lira, lira.Config()),
    "lira, offline": (lira, lira.Config(mode="offline")),
    "pair": (pair, pair.Config()),
    **{f"calibration, {s}": (calibration, calibration.Config(signal=s)) for s in ("distance", "divergence", "odds")},
}
UNDONE = {
    "times 1000": lambda z: 1000 * z,
    "by 1000": lambda z: z / 1000,
    "temperature 3": lambda z: z / 3,
    "shifted": lambda z: z + 20 * torch.sin(torch.arange(z.shape[-2]))[:, None],
    "log probabilities": lambda z: z.log_softmax(-1),
}
HIDDEN = {
    "whole numbers": lambda z: z.round(),
    "the class alone": lambda z: torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]).to(z),
    "the class and its probability": lambda z: _top(z.softmax(-1)).log(),
    "probabilities of one digit": lambda z: ((10 * z.softmax(-1)).round() / 10).clamp(min=1e-30).log(),
    "saturated probabilities": lambda z: (40 * z).softmax(-1).clamp(min=1e-38).log(),
    "drowned in a shift": lambda z: z + 1e8,
}
HARMLESS = {
    "bfloat16": lambda z: z.bfloat16(),
    "float16": lambda z: z.half(),
    "eight bits": lambda z: (z * 10).round() / 10,
    "single precision": lambda z: z.float(),
}


def _top(p):
    best = p.amax(-1, keepdim=True)
    return torch.where(p == best, p, (1 - best) / (p.shape[-1] - 1))


class Table(torch.nn.Module):
    """Row i of the inputs is the number i, and its scores stand in row i of a table of any type of number."""

    def __init__(self, scores):
        super().__init__()
        self.register_buffer("scores", scores)

    def forward(self, x):
        return self.scores[x[:, 0].long()]


@pytest.fixture
def world(toy):
    """A baseline and a candidate: records with a hardness, members better known, and shadow models of either."""

    def make(classes, change=lambda z: z, *, changed=lambda z: z, dtype=torch.float32):
        rng = torch.Generator().manual_seed(classes)
        total = COUNT + 200
        labels = torch.randint(classes, (total,), generator=rng)
        hard = torch.randn(total, generator=rng)
        inside = torch.rand(SHADOWS, COUNT, generator=rng) < 0.5
        inside[1::2] = ~inside[::2]
        member = torch.arange(total) < COUNT // 2

        def said(had):
            own = torch.nn.functional.one_hot(labels[: had.shape[-1]], classes)
            lift = (1.5 * had + hard[: had.shape[-1]] + 1.5)[..., None]
            return (torch.randn(*had.shape, classes, generator=rng) + lift * own).to(dtype)

        scores, shadows = said(member), said(inside)
        near = torch.where(torch.arange(total) < 40, 0.1, 0.5)[:, None]  # what compression was fitted on
        other = scores + (near * torch.randn(scores.shape, generator=rng)).to(dtype)
        index = torch.arange(total, dtype=torch.float32)[:, None]
        rows = {"train": slice(COUNT // 2), "test": slice(COUNT // 2, COUNT), "select": slice(COUNT, total)}
        splits = {name: toy.split_of(index[r], labels[r]) for name, r in rows.items()}
        task = toy.task_of(splits["test"].inputs, labels[rows["test"]], classes=classes, bounds=None)
        task = type(task)("toy", classes, None, {**splits, "calibration": splits["train"].take(torch.arange(40))})
        base = toy.evidence_of(Table(changed(scores)), task, shadows=lambda: toy.References(changed(shadows), inside))
        given = toy.References(change(shadows), inside)
        return base, toy.evidence_of(Table(change(other)), task, reference=base, shadows=lambda: given)

    return make


def ask(asked, base, mine):
    item, config = ASKED[asked]
    return items.behaviour(item.__name__.removeprefix("whatelse.behaviours.")).answer(
        base, mine, config, torch.Generator().manual_seed(0)
    )


def area(asked, base, mine):
    item, config = ASKED[asked]
    answer = ask(asked, base, mine)
    return float(item.summarise(answer, config, np.ones((1, len(answer))))[0])


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("asked", ASKED)
def test_what_can_be_undone_changes_no_area(world, asked, classes):
    plain = area(asked, *world(classes, dtype=torch.float64))
    assert 0.5 < plain < 1
    for name, change in UNDONE.items():
        base, mine = world(classes, change, dtype=torch.float64)
        assert area(asked, base, mine) == pytest.approx(plain, abs=1e-9), name
        assert not ask(asked, base, mine).doubts
        # Of the baseline too, where both are asked.
        base, mine = world(classes, changed=change, dtype=torch.float64)
        assert area(asked, base, mine) == pytest.approx(plain, abs=1e-9), name


@pytest.mark.parametrize("asked", ["loss, loss", "reference", "lira", "calibration, distance"])
def test_single_precision_costs_next_to_no_pair(world, asked):
    plain = area(asked, *world(5))
    for name, change in UNDONE.items():
        assert area(asked, *world(5, change)) == pytest.approx(plain, abs=2 / (COUNT / 2) ** 2), name


def test_shadow_models_may_each_have_a_scale_of_their_own(world, toy):
    factor = torch.tensor([1.0, 1000, 0.01, 3, 50, 0.2], dtype=torch.float64)[:, None, None]
    for asked in ("reference", "lira", "pair"):
        plain = area(asked, *world(5, dtype=torch.float64))
        base, mine = world(5, dtype=torch.float64)
        given = mine.references()
        mine.shadows = lambda given=given: toy.References(given.logits * factor, given.inside)
        assert area(asked, base, mine) == pytest.approx(plain, abs=1e-9)


@pytest.mark.known_answer
@pytest.mark.parametrize("times", [0.001, 1.0, 1000.0])
@pytest.mark.parametrize("shift", [0.5, 1.5])
def test_gaussian_log_odds_keep_their_area_at_any_scale(records, toy, rng, shift, times):
    count = 500
    at = torch.as_tensor(norm.ppf((np.arange(count) + 0.5) / count)).float()
    odds = times * torch.cat([at + shift, at])
    answer = loss.measure(records(torch.stack([odds, 0 * odds], 1), [0] * 2 * count), loss.Config(), rng)
    assert loss.summarise(answer, loss.Config(), toy.ones(answer)) == pytest.approx(
        [norm.cdf(shift / math.sqrt(2))], abs=2e-3
    )


def test_sensitivity_and_what_learns_from_it_do_not_see_a_scale(toy):
    draw = torch.Generator().manual_seed(4)
    weight = torch.randn(3, 4, generator=draw)
    train, test = (toy.split_of(torch.rand(30, 4, generator=draw), torch.arange(30) % 3) for _ in range(2))
    task = toy.task_of(test.inputs, test.targets, classes=3, train=train)
    inside = torch.rand(SHADOWS, 60, generator=draw) < 0.5
    inside[1::2] = ~inside[::2]
    moves = torch.rand(SHADOWS, 60, 3, generator=draw)
    said = torch.randn(SHADOWS, 60, 3, generator=draw)

    def found(factor):
        model = torch.nn.Linear(4, 3, bias=False)
        model.weight.data = factor * weight
        evidence = toy.evidence_of(model, task, shadows=lambda: toy.References(said * factor, inside, moves))
        asked = ((sensitivity, sensitivity.Config()), (attention, attention.Config(epochs=1)))
        return [
            item.measure(evidence, config, torch.Generator().manual_seed(0)).columns["score"] for item, config in asked
        ]

    plain = found(1.0)
    for factor in (2.0**-10, 4.0, 2.0**10):
        for one, two in zip(plain, found(factor), strict=True):
            assert torch.allclose(one, two, atol=1e-2)


@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("asked", ["loss, loss", "reference", "lira", "pair", "calibration, distance"])
@pytest.mark.parametrize("change", HIDDEN)
def test_what_hides_and_does_not_protect_is_doubted_and_only_flatters(world, asked, change, classes):
    base, mine = world(classes, HIDDEN[change])
    (doubt,) = ask(asked, base, mine).doubts
    assert doubt.text.startswith("coarse scores: ")
    assert "of the pairs of a member and another cannot be told apart" in doubt.text
    assert doubt.one_sided


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("change", HARMLESS)
def test_rounding_that_hides_next_to_nothing_is_not_doubted(world, change, classes):
    base, mine = world(classes, HARMLESS[change])
    assert not ask("loss, loss", base, mine).doubts


def test_a_baseline_as_coarse_is_no_reason_for_doubt_and_one_alone_is(world):
    base, mine = world(5, HIDDEN["whole numbers"], changed=HIDDEN["whole numbers"])
    assert not ask("loss, loss", base, mine).doubts
    base, mine = world(5, changed=HIDDEN["whole numbers"])
    (doubt,) = ask("loss, loss", base, mine).doubts
    assert doubt.text.startswith("coarse scores of the baseline: ")
    assert not doubt.one_sided
    assert any(note.startswith("coarse scores: ") for note in ask("loss, loss", base, base).notes)


@pytest.mark.known_answer
def test_pairs_that_are_untold_by_hand():
    member = torch.tensor([True, True, False, False])

    def share(odds):
        z = torch.stack([torch.tensor(odds, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)], 1)
        z = z + torch.tensor([[0.0], [0.001], [0.00312], [0.00777]])  # no score occurs twice
        return _records.untold(z, torch.zeros(4, dtype=torch.long), member)

    assert share([1.0, 2, 3, 4]) == 0
    assert share([math.inf, 2, math.inf, 4]) == 0.25
    whole = torch.tensor([[1.0, 0], [2, 0], [1, 0], [3, 0]])
    # The members' 1 and 2 against 1 and 3: only the ones are nearer than half a step.
    assert _records.untold(whole, torch.zeros(4, dtype=torch.long), member) == 0.25
    # The label of the last one has the very score of the other class.
    last = torch.tensor([[1.5, 0], [2.25, 0.1], [4.5, 0.2], [0.3, 0.3]])
    assert _records.untold(last, torch.zeros(4, dtype=torch.long), member) == 0.5
