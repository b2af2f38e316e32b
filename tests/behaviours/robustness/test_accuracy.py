import copy

import numpy as np
import pytest
import torch

from whatelse.answer import Answer
from whatelse.behaviours.robustness import accuracy
from whatelse.errors import NotMeasurableError
from whatelse.nets import cnn

RADIUS = 0.3
COLUMNS = ("right", "own APGD", "own gradients", "own with Square", "pooled", "baseline own", "baseline pooled")
OWN, POOLED, BASE, BASE_POOLED = COLUMNS[3:]


def config(**given):
    return accuracy.Config(**{"radius": RADIUS, "examples": 1000, **given})


def closed(weight, inputs, labels, radius, norm):
    """Whether a linear model withstands every point of the ball: each rival stays behind by more than its dual norm."""
    ahead = weight[labels][:, None] - weight[None]
    margin = (ahead * inputs[:, None]).sum(2)
    reach = radius * ahead.norm(dim=2, p=1 if norm == "linf" else 2)
    stands = margin > reach
    return stands.scatter(1, labels[:, None], True).all(1)  # noqa: FBT003


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("radius", [0.0, 0.1, 0.3, 0.6])
def test_a_linear_model_is_robust_where_its_margin_exceeds_the_dual_norm(lines, toy, rng, radius, norm):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    answer = accuracy.compare(base, mine, config(radius=radius, norm=norm), rng)
    theirs, own = (closed(w, lines.inputs, lines.labels, radius, norm) for w in (lines.first, lines.second))
    right = lines.margin(lines.second, lines.inputs, lines.labels) > 0
    assert tuple(answer.columns) == COLUMNS
    assert answer.matrix().tolist() == torch.stack([right, own, own, own, own, theirs, theirs], 1).float().tolist()
    assert 0.1 < own.float().mean() < 0.95
    assert accuracy.summarise(answer, config(), toy.ones(answer)) == pytest.approx([float(own.float().mean())])
    assert not answer.doubts


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_so_is_one_of_many_classes_under_the_standard_attacks(toy, rng, norm):
    for classes in (3, 5):
        weight = torch.randn(classes, 6, generator=rng)
        inputs = torch.randn(100, 6, generator=rng)
        labels = (inputs @ weight.T).argmax(1)
        labels[:5] = (labels[:5] + 1) % classes
        model = torch.nn.Linear(6, classes, bias=False)
        model.weight = torch.nn.Parameter(weight)
        mine = toy.evidence_of(model, toy.task_of(inputs, labels, classes=classes))
        found = accuracy.compare(mine, mine, config(norm=norm, strength="standard", steps=40, queries=50), rng)
        expected = closed(weight, inputs, labels, RADIUS, norm)
        assert found[OWN].tolist() == found[POOLED].tolist() == expected.float().tolist()
        assert 0.1 < expected.float().mean() < 0.9


@pytest.mark.known_answer
def test_no_budget_gives_the_unattacked_accuracy(toy, rng):
    net = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng)
    inputs = torch.rand(40, 1, 8, 8, generator=rng)
    labels = torch.randint(3, (40,), generator=rng)
    labels[:2] = torch.tensor([0, 1])
    mine = toy.evidence_of(net, toy.task_of(inputs, labels, classes=3, bounds=(0.0, 1.0)))
    answer = accuracy.compare(mine, mine, config(radius=0.0), rng)
    right = (mine.predictions() == labels).float()
    assert answer.matrix().tolist() == right[:, None].expand(-1, 7).tolist()
    assert not any("without a budget" in doubt.text for doubt in answer.doubts)


@pytest.fixture
def scaled(lines, toy):
    """Evidence of a small network whose scores are so many times larger, on a task where it is always right."""

    def make(scale, base=None):
        rng = torch.Generator().manual_seed(3)
        net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.randn(p.shape, generator=rng))
            labels = net(lines.inputs).argmax(1)
            net[2].weight.mul_(scale)
            net[2].bias.mul_(scale)
        return toy.evidence_of(net, toy.task_of(lines.inputs, labels), reference=base)

    return make


@pytest.mark.known_answer
def test_logits_1024_times_larger_change_nothing_but_what_others_would_see(scaled):
    small, large = scaled(1), scaled(1024)
    found = [accuracy.compare(e, e, config(radius=0.2), torch.Generator().manual_seed(3)) for e in (small, large)]
    assert np.array_equal(*(answer.matrix() for answer in found))
    assert 0.1 < found[0][OWN].mean() < 0.9
    # Of a model with itself nothing is gained by the masking: a note. A candidate that masks more is not trusted.
    assert not found[0].doubts
    assert not found[1].doubts
    assert any("masked for cross-entropy attacks" in note for note in found[1].notes)
    assert not any("masked" in note for note in found[0].notes)
    candidate = scaled(1024, small)
    paired = accuracy.compare(small, candidate, config(radius=0.2), torch.Generator().manual_seed(3))
    assert np.array_equal(paired.matrix(), found[0].matrix())
    assert [doubt.text.split(":")[0] for doubt in paired.doubts] == ["masked for cross-entropy attacks"]


@pytest.mark.known_answer
def test_every_point_is_tried_on_both(lines, toy, claims, reversed_, rng):
    honest = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    masked = claims(reversed_(lines.linear_of(lines.first)))
    expected = closed(lines.first, lines.inputs, lines.labels, RADIUS, "linf").float()
    answer = accuracy.compare(honest, masked, config(queries=1), rng)
    assert all(answer[name].tolist() == expected.tolist() for name in (POOLED, BASE, BASE_POOLED))
    assert answer[OWN].mean() > expected.mean() + 0.05
    assert any("the baseline fools" in doubt.text for doubt in answer.doubts)
    # The other way round the candidate's points unmask the baseline, and no gain is invented.
    masked, honest = (claims(reversed_(lines.linear_of(lines.first))), claims(lines.linear_of(lines.first)))
    answer = accuracy.compare(masked, honest, config(queries=1), rng)
    assert answer[BASE].mean() > expected.mean() + 0.05
    assert answer[POOLED].tolist() == answer[BASE_POOLED].tolist() == expected.tolist()
    own = float(answer[BASE].mean())
    assert accuracy.summarise(answer, config(), toy.ones(answer)) == pytest.approx([own])


def test_against_itself_a_model_has_its_own_accuracy(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    answer = accuracy.compare(mine, mine, config(), rng)
    assert all(answer[name].tolist() == answer[OWN].tolist() for name in (POOLED, BASE, BASE_POOLED))


@pytest.mark.known_answer
def test_the_summary_is_the_baselines_own_accuracy_plus_the_pooled_change():
    values = torch.tensor(
        [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1, 0], [1, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0.0]]
    )
    answer = Answer(dict(zip(COLUMNS, values.T, strict=True)))
    weights = np.array([[1, 1, 1, 1], [3, 0, 0, 1], [0, 2, 1, 0]])
    assert accuracy.summarise(answer, config(), weights) == pytest.approx([2 / 4, 3 / 4, 2 / 3])
    parts = accuracy.by_part(answer, config(), weights)
    assert parts[0] == pytest.approx([3 / 4, 2 / 4, 2 / 4, 2 / 4, 2 / 4])
    assert parts[2] == pytest.approx([1, 2 / 3, 2 / 3, 2 / 3, 2 / 3])


def test_it_is_reproducible_and_says_what_it_did(lines, toy):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    runs = [accuracy.compare(base, mine, config(), torch.Generator().manual_seed(5)) for _ in (0, 1)]
    assert np.array_equal(*(answer.matrix() for answer in runs))
    (note,) = runs[0].notes
    assert runs[1].notes == (note,)
    assert note.startswith("unattacked 0.")
    assert "; pooled 0." in note
    assert runs[0].parts.names == ("unattacked", "own APGD", "own gradients", "own with Square", "pooled")
    shares = accuracy.by_part(runs[0], config(), np.ones((1, 120)))[0]
    assert bool((np.diff(shares[:4]) <= 0).all())


@pytest.mark.parametrize("given", [{}, {"norm": "l2"}, {"strength": "standard", "steps": 5, "queries": 20}])
def test_it_spends_no_more_than_it_says(lines, toy, rng, given):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    for evidence in (base, mine):
        evidence.logits()
    before = [e.passes.forward + e.passes.backward for e in (base, mine)]
    accuracy.compare(base, mine, config(**given), rng)
    spent = sum(e.passes.forward + e.passes.backward for e in (base, mine)) - sum(before)
    bound = accuracy.effort(config(**given), lines.task)
    assert bound / 20 < spent <= bound


def test_what_only_predicts_is_searched_and_never_climbed(lines, toy, stepped, rng):
    # Scores in steps: no gradient, nearly the same answers.
    blind = toy.evidence_of(stepped(lines.linear_of(lines.first)), lines.task)
    assert "differentiates" not in blind.subject.offers
    honest = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    answer = accuracy.compare(honest, blind, config(), rng)
    assert blind.passes.backward == 0
    assert any(note.startswith("black-box tier: no gradients") for note in answer.notes)
    assert [(doubt.text.split(":")[0], doubt.one_sided) for doubt in answer.doubts] == [("black-box tier", True)]
    expected = closed(lines.first, lines.inputs, lines.labels, RADIUS, "linf").float()
    assert answer[POOLED].tolist() == expected.tolist()
    assert answer["own APGD"].tolist() == answer[OWN].tolist()
    assert answer[OWN].mean() < expected.mean() + 0.1
    # Where both are searched alone, neither seems robust for want of gradients: it is noted.
    apart = toy.evidence_of(stepped(lines.linear_of(lines.second)), lines.task)
    answer = accuracy.compare(blind, apart, config(queries=1), rng)
    assert not answer.doubts
    assert any(note.startswith("black-box tier") for note in answer.notes)


def test_what_cannot_be_attacked_is_said(lines, toy, rng):
    def refused(task, match, *, train=False):
        model = torch.nn.Sequential(torch.nn.BatchNorm1d(6), lines.linear_of(lines.first))
        mine = toy.evidence_of(model, task)
        model.train(train)
        with pytest.raises(NotMeasurableError, match=match):
            accuracy.compare(mine, mine, config(), rng)

    refused(toy.task_of(lines.inputs, lines.labels, bounds=(0.0, 1.0)), "needs inputs in bounds 0.0 to 1.0; those")
    refused(toy.task_of(lines.inputs, lines.labels, bounds=(-np.inf, np.inf)), "needs finite bounds")
    refused(toy.task_of(lines.inputs, lines.labels, bounds=None), "needs bounds on the inputs")
    ids = toy.evidence_of(torch.nn.EmbeddingBag(9, 2), toy.task_of(torch.arange(8).reshape(4, 2), [0, 1, 0, 1]))
    with pytest.raises(NotMeasurableError, match="floating-point inputs; those of task toy are int64"):
        accuracy.compare(ids, ids, config(), rng)
    refused(lines.task, r"needs a model in evaluation mode; it \(Sequential\) is in training mode", train=True)


@pytest.mark.slow
@pytest.mark.known_answer
def test_defensive_distillation_is_never_an_improvement(toy):
    """Papernot's defense, T = 100, on real digits: its masking is seen, and no robustness is found."""
    from whatelse.datasets import digits  # noqa: PLC0415
    from whatelse.methods.distill import defensive  # noqa: PLC0415
    from whatelse.methods.train import scratch  # noqa: PLC0415
    from whatelse.statistics import paired, verdicts  # noqa: PLC0415

    task = digits.load(digits.Config())
    rng = torch.Generator().manual_seed(11)
    net = cnn.build(cnn.Config(width=8, hidden=32), task.shape, task.classes, rng)
    trained = scratch.compress(net, scratch.Config(epochs=30), task, rng)
    distilled = defensive.compress(copy.deepcopy(net), defensive.Config(temperature=100.0, epochs=60), task, rng)
    base = toy.evidence_of(trained, task)
    mine = toy.evidence_of(distilled, task, reference=base)
    settings = accuracy.Config(radius=0.15)
    control = accuracy.compare(base, base, settings, rng)
    answer = accuracy.compare(base, mine, settings, rng)
    assert answer["right"].mean() > 0.85

    def summarise(values, weights):
        return accuracy.summarise(answer.over(values), settings, weights)

    effect = paired.effect([control.matrix()], [answer.matrix()], summarise, np.random.default_rng(0))
    doubts = [doubt.text for doubt in answer.doubts]
    verdict = verdicts.decide(effect, margin=0.03, better="higher", adjusted_p=effect.p, distrust=doubts)
    assert any("masked for cross-entropy attacks" in doubt for doubt in doubts)
    assert verdict == "not trusted"
    trusting = verdicts.decide(effect, margin=0.03, better="higher", adjusted_p=effect.p, distrust=())
    assert trusting != "improved"
