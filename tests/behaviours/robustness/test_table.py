import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from whatelse.answer import Answer
from whatelse.attacks import beam
from whatelse.behaviours.robustness import table
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.tasks.task import Task

RADIUS = 0.4
COLUMNS = ("unattacked", "numbers alone", "categories alone", "own", "pooled", "baseline own", "baseline pooled")
FEATURES = ("age", "hours", "sex=f", "sex=m", "job=a", "job=b", "job=c", "city=x", "city=y", "city=z")
BLOCKS = ((2, 3), (4, 5, 6), (7, 8, 9))


def linear_of(weight):
    model = torch.nn.Linear(weight.shape[1], len(weight), bias=False)
    model.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    return model


def rows_of(count, rng):
    inputs = torch.zeros(count, len(FEATURES))
    inputs[:, :2] = torch.randn(count, 2, generator=rng) * torch.tensor([1.0, 3.0])
    for block in BLOCKS:
        picks = torch.randint(len(block), (count,), generator=rng)
        inputs[torch.arange(count), torch.tensor(block)[picks]] = 1
    return inputs


def task_of(toy, inputs, labels, features=FEATURES, train=None):
    test = toy.split_of(inputs, labels)
    train = test if train is None else train
    return Task("toy", 2, None, {"train": train, "calibration": train, "select": test, "test": test}, {}, features)


@pytest.fixture
def toys(toy):
    rng = torch.Generator().manual_seed(11)
    weights = [torch.randn(2, len(FEATURES), generator=rng) * torch.tensor([1.0, 0.3] + [1.0] * 8) for _ in range(2)]
    inputs = rows_of(60, rng)
    labels = (inputs @ weights[0].T).argmax(1)
    labels[::10] = 1 - labels[::10]
    base, mine = (toy.evidence_of(linear_of(w), task_of(toy, inputs, labels)) for w in weights)
    return SimpleNamespace(weights=weights, inputs=inputs, labels=labels, base=base, mine=mine, task=base.task)


def config(**given):
    return table.Config(**{"radius": RADIUS, "examples": 1000, **given})


def margins(weight, inputs, labels):
    rows = torch.arange(len(labels))
    scores = inputs @ weight.T
    return scores[rows, labels] - scores[rows, 1 - labels]


def worst_points(weight, inputs, labels, *, radius, swaps, fixed=()):
    """Every choice of at most so many swaps, each with both numbers at the worse end of what they may take."""
    numbers = [n for n in (0, 1) if FEATURES[n] not in fixed]
    blocks = [b for b in BLOCKS if FEATURES[b[0]].split("=")[0] not in fixed]
    rows, weight = inputs.double().numpy(), weight.double().numpy()
    reach, low, high = radius * rows.std(0), rows.min(0), rows.max(0)
    found = []
    for x, y in zip(rows, labels.tolist(), strict=True):
        slope = weight[y] - weight[1 - y]
        x = x.copy()
        for n in numbers:
            x[n] = max(x[n] - reach[n], low[n]) if slope[n] > 0 else min(x[n] + reach[n], high[n])
        every = [x]
        for many in range(1, swaps + 1):
            for some in itertools.combinations(blocks, many):
                for picks in itertools.product(*some):
                    z = x.copy()
                    for block, pick in zip(some, picks, strict=True):
                        z[list(block)] = 0
                        z[pick] = 1
                    every.append(z)
        found.append(every[int(np.argmin(np.stack(every) @ slope))])
    return torch.from_numpy(np.stack(found)).float()


@pytest.mark.known_answer
@pytest.mark.parametrize(("radius", "swaps"), [(0.4, 0), (0.0, 1), (0.4, 1), (0.2, 2), (2.5, 1)])
def test_a_linear_model_withstands_what_brute_force_says(toys, rng, radius, swaps):
    answer = table.compare(toys.base, toys.mine, config(radius=radius, swaps=swaps), rng)
    base, mine = toys.weights
    kinds = ((0, 0), (radius, 0), (0, swaps), (radius, swaps))
    worst = [worst_points(mine, toys.inputs, toys.labels, radius=r, swaps=s) for r, s in kinds]
    alone = torch.stack([margins(mine, x, toys.labels) > 0 for x in worst], 1)
    assert answer.table(*COLUMNS[:4]).tolist() == alone.float().tolist()
    theirs = worst_points(base, toys.inputs, toys.labels, radius=radius, swaps=swaps)
    # No point inside the budget is worse than the own worst: those of the other model take nothing more.
    assert answer["pooled"].tolist() == answer["own"].tolist()
    kept = (margins(base, theirs, toys.labels) > 0).float()
    assert answer["baseline own"].tolist() == answer["baseline pooled"].tolist() == kept.tolist()
    assert answer["unattacked"].mean() > answer["own"].mean()
    assert answer.doubts == ()


@pytest.mark.known_answer
def test_without_gradients_the_search_finds_nearly_as_much(toys, rng):
    subject = replace(toys.mine.subject, without=frozenset({"differentiates", "opens"}))
    blind = Evidence(subject, toys.task)
    answer = table.compare(toys.base, blind, config(steps=20), rng)
    worst = worst_points(toys.weights[1], toys.inputs, toys.labels, radius=RADIUS, swaps=1)
    exact = margins(toys.weights[1], worst, toys.labels) > 0
    assert (answer.columns["own"].bool() != exact).float().mean() <= 0.02
    assert any("has no gradients" in note for note in answer.notes)
    assert [doubt.text.split(":")[0] for doubt in answer.doubts] == ["black-box tier"]


@pytest.mark.known_answer
def test_fixed_columns_stay_as_they_are(toys, rng):
    answer = table.compare(toys.base, toys.mine, config(swaps=2, fixed="hours, job"), rng)
    worst = worst_points(toys.weights[1], toys.inputs, toys.labels, radius=RADIUS, swaps=2, fixed=("hours", "job"))
    assert answer["own"].tolist() == (margins(toys.weights[1], worst, toys.labels) > 0).float().tolist()
    (points,) = (t["points"] for name, t in toys.mine._held.items() if name.startswith("table attack"))
    assert torch.equal(points[..., 1], toys.inputs[:, 1].expand(4, -1))
    assert torch.equal(points[..., 4:7], toys.inputs[:, 4:7].expand(4, -1, -1))


def net_of(seed):
    rng = torch.Generator().manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(len(FEATURES), 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / p.shape[-1] ** 0.5)
        scores = net(rows_of(200, rng))
        net[2].bias[0] += (scores[:, 1] - scores[:, 0]).median()  # both classes are predicted
    return net


def test_points_are_rows_that_the_table_could_have(toys, toy, rng):
    mine = toy.evidence_of(net_of(1), toys.task)
    table.compare(toys.base, mine, config(swaps=2), rng)
    (points,) = (t["points"] for name, t in mine._held.items() if name.startswith("table attack"))
    clean, spread = toys.inputs, toys.inputs[:, :2].std(0, correction=0)
    assert points.shape == (4, 60, len(FEATURES))
    assert ((points[..., :2] - clean[:, :2]).abs() <= RADIUS * spread + 1e-5).all()
    assert (points[..., :2] >= clean[:, :2].min(0).values).all()
    assert (points[..., :2] <= clean[:, :2].max(0).values).all()
    for block in BLOCKS:
        held = points[..., block]
        assert ((held == 0) | (held == 1)).all()
        assert (held.sum(-1) == 1).all()
    swapped = torch.stack([(points[..., b] != clean[:, b]).any(-1) for b in BLOCKS], -1).sum(-1)
    assert swapped.amax(1).tolist() == [0, 2, 2, 2]
    assert torch.equal(points[0][:, 2:], clean[:, 2:])
    assert torch.equal(points[1][:, :2], clean[:, :2])


def test_two_swaps_find_what_one_does_not_and_joint_attacks_what_neither_does(toys, toy, rng):
    found = []
    for swaps in (0, 1, 2):
        mine = toy.evidence_of(net_of(2), task_of(toy, toys.inputs, net_of(2)(toys.inputs).argmax(1)))
        base = toy.evidence_of(net_of(3), mine.task)
        answer = table.compare(base, mine, config(swaps=swaps), rng)
        found.append(table.by_part(answer, config(), toy.ones(answer))[0])
    unattacked, numbers, categories, own = np.stack(found)[:, :4].T
    assert unattacked.tolist() == [1, 1, 1]
    assert numbers.tolist() == [numbers[0]] * 3
    assert categories[0] == 1 > categories[1] > categories[2]
    assert (own <= np.minimum(numbers, categories)).all()
    assert own[1] < min(numbers[1], categories[1])


@pytest.mark.known_answer
def test_what_the_baseline_loses_by_the_candidates_points_is_credited():
    values = torch.tensor(
        [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1], [1, 1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1, 1.0]]
    )
    answer = Answer(dict(zip(COLUMNS, values.T, strict=True)))
    weights = np.array([[1, 1, 1, 1], [0, 2, 1, 1], [4, 0, 0, 0]])
    assert table.summarise(answer, config(), weights) == pytest.approx([(1 + 4 - 3) / 4, (0 + 4 - 3) / 4, 1])
    assert table.by_part(answer, config(), weights)[0] == pytest.approx([3 / 4, 3 / 4, 1 / 2, 1 / 2, 1 / 2])


@pytest.mark.known_answer
def test_a_copy_of_the_baseline_is_neither_better_nor_worse(toys, toy, rng):
    one, two = (toy.evidence_of(net_of(4), toys.task) for _ in range(2))
    answer = table.compare(one, two, config(), rng)
    assert table.summarise(answer, config(), toy.ones(answer)) == pytest.approx(answer["own"].mean())
    assert np.array_equal(answer["own"], answer["baseline own"])


def test_a_gradient_that_points_the_wrong_way_is_not_trusted(toys, claims, rng):
    class Reversed(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(2 * x.detach() - x)

    hidden = claims(Reversed(linear_of(toys.weights[1])), toys.task)
    answer = table.compare(toys.base, hidden, config(radius=1.0, swaps=0), rng)
    assert any("masked gradient: random search fools" in doubt.text for doubt in answer.doubts)


def test_inputs_without_names_are_numbers(toy, rng):
    images = torch.rand(30, 1, 4, 4, generator=rng)
    weight = torch.randn(2, 16, generator=rng)
    weight[0] += (weight[1] - weight[0]).mean()
    labels = (images.flatten(1) @ weight.T).argmax(1)
    mine = toy.evidence_of(
        torch.nn.Sequential(torch.nn.Flatten(), linear_of(weight)), toy.task_of(images, labels, bounds=None)
    )
    answer = table.compare(mine, mine, config(radius=0.3), rng)
    assert answer["numbers alone"].tolist() == answer["own"].tolist()
    slope = weight[labels] - weight[1 - labels]
    flat = images.flatten(1)
    reach = 0.3 * flat.std(0, correction=0)
    low, high = torch.maximum(flat - reach, flat.amin(0)), torch.minimum(flat + reach, flat.amax(0))
    exact = (slope * torch.where(slope > 0, low, high)).sum(1) > 0
    assert answer["own"].tolist() == exact.float().tolist()
    assert 0.1 < answer["own"].mean() < 0.9


@pytest.mark.known_answer
def test_points_of_one_model_count_for_the_other(toy, rng):
    inputs, weight = torch.randn(60, 16, generator=rng), torch.randn(2, 16, generator=rng)
    labels = (inputs @ weight.T).argmax(1)
    open_ = toy.evidence_of(linear_of(weight), toy.task_of(inputs, labels, bounds=None))
    # The same model, but asked blindly and hardly ever: what its own search misses, the other's gradients find.
    blind = Evidence(replace(open_.subject, without=frozenset({"differentiates", "opens"})), open_.task)
    slope, reach = weight[labels] - weight[1 - labels], 0.2 * inputs.std(0, correction=0)
    low, high = torch.maximum(inputs - reach, inputs.amin(0)), torch.minimum(inputs + reach, inputs.amax(0))
    exact = ((slope * torch.where(slope > 0, low, high)).sum(1) > 0).float()
    answer = table.compare(open_, blind, config(radius=0.2, steps=1), rng)
    assert answer["own"].mean() > exact.mean() + 0.05
    assert all(answer[name].tolist() == exact.tolist() for name in ("pooled", "baseline own", "baseline pooled"))
    assert [doubt.text.split(":")[0] for doubt in answer.doubts] == ["black-box tier"]
    answer = table.compare(blind, open_, config(radius=0.2, steps=1), rng)
    assert all(answer[name].tolist() == exact.tolist() for name in ("own", "pooled", "baseline pooled"))
    missed = float((answer["baseline own"] - answer["baseline pooled"]).mean())
    assert table.summarise(answer, config(), toy.ones(answer)) == pytest.approx(float(exact.mean()) + missed)


def test_a_model_that_seems_robust_for_want_of_gradients_is_not_trusted(toys, rng):
    strong = Evidence(replace(toys.base.subject, without=frozenset({"differentiates", "opens"})), toys.task)
    answer = table.compare(toys.mine, strong, config(radius=0.1, swaps=0), rng)
    assert any(doubt.text.startswith("black-box tier") and doubt.one_sided for doubt in answer.doubts)


def test_it_repeats_and_says_what_it_did_and_what_it_costs(toys, toy):
    runs = []
    for _ in range(2):
        base, mine = (toy.evidence_of(linear_of(w), toys.task) for w in toys.weights)
        runs.append(table.compare(base, mine, config(swaps=2, examples=40), torch.Generator()))
        for e in (base, mine):
            e.logits()
        spent = sum(e.passes.forward + e.passes.backward for e in (base, mine)) - 2 * 2 * len(toys.inputs)
        limit = table.effort(config(swaps=2, examples=40), toys.task)
        assert 0.4 * limit < spent <= limit
    assert np.array_equal(*(answer.matrix() for answer in runs))
    assert tuple(runs[0].columns) == COLUMNS
    assert len(runs[0]) == 40
    assert runs[0].parts.names == ("unattacked", "numbers alone", "categories alone", "own", "pooled")
    (note,) = runs[0].notes
    assert note.startswith("unattacked 0.")
    assert note.endswith("2 numbers and 3 columns of categories may change")


def test_small_batches_and_parts_change_nothing(toys, toy, rng, monkeypatch):
    whole = table.compare(toys.base, toys.mine, config(), rng).matrix()
    monkeypatch.setattr(beam, "_VALUES", 1200)
    base, mine = (toy.evidence_of(linear_of(w), toys.task) for w in toys.weights)
    base.batch = mine.batch = 7
    assert np.array_equal(table.compare(base, mine, config(), rng).matrix(), whole)


def test_what_cannot_be_attacked_is_said(toys, rng):
    with pytest.raises(NotMeasurableError, match=r"fixed: no column 'sx'; did you mean sex\?"):
        table.compare(toys.base, toys.mine, config(fixed="sx"), rng)
    with pytest.raises(NotMeasurableError, match="needs a column that the adversary may change"):
        table.compare(toys.base, toys.mine, config(fixed="age,hours", swaps=0), rng)
    assert table.effort(config(fixed="sx"), toys.task) == 0


def test_a_step_and_random_answers_are_not_trusted(toys, rng, fickle):
    still = Evidence(replace(toys.mine.subject, model=fickle(toys.mine.model)), toys.task)
    answer = table.compare(toys.base, still, config(), rng)
    assert any(doubt.text.startswith("random outputs") and not doubt.one_sided for doubt in answer.doubts)

    class Flat(torch.nn.Module):
        """Scores in steps, whose gradient is zero throughout and is believed."""

        def forward(self, x):
            return (toys.mine.model(x) * 1e6).round() / 1e6 + 0 * x.sum()

    masked = Evidence(replace(toys.mine.subject, model=Flat()), toys.task)
    answer = table.compare(toys.base, masked, config(), rng)
    assert any("of input gradients are exactly zero" in doubt.text for doubt in answer.doubts)


@pytest.mark.known_answer
@pytest.mark.parametrize("swaps", [0, 1])
def test_without_a_radius_it_is_the_step_at_which_the_baseline_keeps_about_half(toys, rng, swaps):
    weight, inputs, labels = toys.weights[0], toys.inputs, toys.labels
    right = margins(weight, inputs, labels) > 0
    kept = {}
    for radius in (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6):
        worst = worst_points(weight, inputs, labels, radius=radius, swaps=swaps)
        kept[radius] = int((right & (margins(weight, worst, labels) > 0)).sum())
    half = int(right.sum()) / 2
    wanted = min(kept, key=lambda r: (abs(kept[r] - half), r))
    answer = table.compare(toys.base, toys.mine, table.Config(examples=1000, swaps=swaps), rng)
    told = f"radius {wanted:.4g} ({wanted:g} standard deviations), chosen on select"
    assert told in answer.notes[0]
    assert f"leaves the baseline {kept[wanted]} of the" in answer.notes[0]
    given = table.compare(toys.base, toys.mine, config(radius=wanted, swaps=swaps), rng)
    assert given.notes == answer.notes[1:]  # as with that radius given
    assert np.array_equal(given.matrix(), answer.matrix())
    assert table.effort(table.Config(swaps=swaps), toys.task) > table.effort(
        config(swaps=swaps, examples=300), toys.task
    )
