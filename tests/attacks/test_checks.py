import pytest
import torch

from whatelse.attacks import checks
from whatelse.attacks import pool as _pool
from whatelse.behaviours.robustness import accuracy
from whatelse.nets import cnn

RADIUS = 0.3
PLAN = _pool.Plan("linf", RADIUS, 20, 50, 1000, "quick")


def doubts(model, rng, **given):
    config = accuracy.Config(**{"radius": RADIUS, "examples": 1000, **given})
    return [doubt.text for doubt in accuracy.compare(model, model, config, rng).doubts]


def test_random_search_and_planted_points_unmask_a_reversed_gradient(lines, claims, reversed_, rng):
    found = doubts(claims(reversed_(lines.linear_of(lines.first))), rng)
    assert any("random search fools" in doubt for doubt in found)
    assert any("planted points" in doubt for doubt in found)
    assert not any("the baseline fools" in doubt for doubt in found)


def test_a_step_without_gradient_is_not_trusted(lines, claims, stepped, rng):
    found = doubts(claims(stepped(lines.linear_of(lines.first))), rng)
    assert "masked gradient: 100% of input gradients are exactly zero" in found
    assert any("planted points" in doubt for doubt in found)


def test_a_model_that_changes_its_mind_is_not_trusted(lines, claims, fickle, rng):
    found = doubts(claims(fickle(lines.linear_of(lines.first))), rng)
    assert "random outputs: asked again, the model answers 100 of 100 otherwise" in found


class Noisy(torch.nn.Module):
    """Scores with noise that flips no answer."""

    def __init__(self, model):
        super().__init__()
        self.model, self.rng = model, torch.Generator().manual_seed(0)

    def forward(self, x):
        logits = self.model(x)
        return logits + 0.01 * torch.randn(logits.shape, generator=self.rng)


def test_noise_that_flips_no_answer_is_seen(lines, claims, rng):
    assert any("random outputs" in doubt for doubt in doubts(claims(Noisy(lines.linear_of(lines.first))), rng))


class Shifted(torch.nn.Module):
    def forward(self, x):
        return x + torch.tensor([1.0, 0.0])


def test_a_constant_model_is_not_trusted(lines, claims, rng):
    mine = claims(torch.nn.Sequential(lines.linear_of(1e-9 * lines.first), Shifted()))
    assert any("half the input range" in doubt for doubt in doubts(mine, rng))


@pytest.mark.parametrize(
    ("missed", "right", "flagged"), [(1, 20, False), (5, 300, False), (6, 300, True), (0, 9, False)]
)
def test_a_few_misses_are_chance(missed, right, flagged):
    # Of 300 an attack that misses one in 200 leaves 6 or more with probability .004, 5 or more with .019.
    remarks = checks.check_missed("random search", missed, right)
    assert [doubt.one_sided for doubt in remarks.doubts] == [True] * flagged
    assert not remarks.notes


class Rippled(torch.nn.Module):
    """Steep ripples on a model, too small to move its answers far: gradients are there and lead nowhere."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x + 2e-3 * torch.sin(5e3 * x))


def test_ripples_that_lead_nowhere_are_unmasked(lines, claims, rng):
    found = doubts(claims(Rippled(lines.linear_of(lines.first))), rng)
    assert any("planted points" in doubt for doubt in found)
    assert any("random search fools" in doubt for doubt in found)


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_planted_points_are_found_in_honest_models(toy, norm):
    """At least 95 % of planted points, over networks whose weights are random (Zimmermann et al.)."""
    lost = planted = 0
    for seed in range(4):
        rng = torch.Generator().manual_seed(seed)
        net = cnn.build(cnn.Config(width=8, hidden=16), (1, 8, 8), 4, rng)
        inputs = torch.rand(60, 1, 8, 8, generator=rng)
        mine = toy.evidence_of(net, toy.task_of(inputs, torch.arange(60) % 4, classes=4, bounds=(0.0, 1.0)))
        plan = _pool.Plan(norm, 0.1 if norm == "linf" else 0.5, 20, 1, 60, "quick")
        missing, of = checks.unfound(mine, 60, plan, rng)
        lost, planted = lost + missing, planted + of
    assert planted > 100
    assert lost <= 0.05 * planted


@pytest.mark.known_answer
@pytest.mark.parametrize(("steps", "every", "told"), [(1, 1, "doubt"), (1, 12, "note"), (1, 60, ""), (20, 1, "")])
def test_an_attack_that_more_steps_make_stronger_is_told(toy, rng, steps, every, told):
    """In L2 the first step reaches 2 / sqrt(5) of what a linear model allows, the second .997 of it."""
    weight = torch.randn(2, 400, generator=rng)
    axis = weight[0] - weight[1]
    reach = RADIUS * axis.norm()
    margin = torch.linspace(0.93, 0.98, 300) * reach
    margin[torch.arange(300) % every != 0] = 9 * reach
    inputs = torch.randn(300, 400, generator=rng)
    inputs -= (inputs @ axis)[:, None] * axis / axis.square().sum()
    inputs += margin[:, None] * axis / axis.square().sum()
    model = torch.nn.Linear(400, 2, bias=False)
    model.weight = torch.nn.Parameter(weight)
    # The last 210 are wrong from the start: 5 more of the 60 that are asked are 2.5 points of accuracy, all are 30.
    labels = (torch.arange(300) >= 90).long()
    mine = toy.evidence_of(model, toy.task_of(inputs, labels, bounds=(-20.0, 20.0)))
    pool = _pool.own(mine, plan := _pool.Plan("l2", RADIUS, steps, 1, 1000, "quick"))
    pool = pool._replace(gradients=pool.first)  # the later attacks go on where the first one ended
    remarks = checks._check_steps(mine, pool, plan, rng)
    assert [doubt.text.split(":")[0] for doubt in remarks.doubts] == ["attack not converged"] * (told == "doubt")
    assert [text.split(":")[0] for text in remarks.notes] == ["attack not converged"] * (told == "note")


@pytest.mark.known_answer
def test_what_a_cross_entropy_attack_cannot_see_is_counted(toy):
    # The gradient is a multiple of exp(-gap), and exp(-104) is zero in single precision, exp(-80) is not. All but the
    # third are within reach of the border.
    model = torch.nn.Linear(1, 2, bias=False)
    model.weight = torch.nn.Parameter(torch.tensor([[0.5], [-0.5]]))
    inputs = torch.tensor([[104.0], [80], [300], [-104], [-104]])
    task = toy.task_of(inputs, torch.tensor([0, 0, 0, 1, 0]), bounds=(-1000.0, 1000.0))
    mine = toy.evidence_of(model, task)
    for norm in ("linf", "l2"):
        assert checks._unseen(mine, 150.0, norm, 300) == (2, 3)
        assert checks._unseen(mine, 150.0, norm, 2) == (1, 2)
