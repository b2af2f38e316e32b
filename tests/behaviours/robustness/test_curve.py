import pytest
import torch

from whatelse.behaviours.robustness import curve
from whatelse.errors import NotMeasurableError


def exact(lines, weight, largest):
    """A linear model stands where its margin exceeds the radius times the L1 norm of the difference of the weights."""
    radii = torch.tensor([largest * (i + 1) / 6 for i in range(6)])
    reach = (weight[0] - weight[1]).abs().sum() * radii
    return (lines.margin(weight, lines.inputs, lines.labels)[:, None] > reach).float()


@pytest.mark.known_answer
@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
@pytest.mark.parametrize("loss", ["cross-entropy", "log-odds"])
def test_of_a_linear_model_the_curve_is_that_of_its_margins(lines, toy, rng, attack, loss):
    mine = toy.evidence_of(lines.linear_of(lines.second), lines.task)
    config = curve.Config(attack=attack, loss=loss, largest=0.6)
    answer = curve.measure(mine, config, rng)
    want = exact(lines, lines.second, 0.6)
    assert answer.matrix().tolist() == want.tolist()
    assert 0.1 < float(want.mean()) < 0.9
    assert curve.summarise(answer, config, toy.ones(answer))[0] == pytest.approx(float(want.mean()))
    assert curve.by_part(answer, config, toy.ones(answer))[0] == pytest.approx(want.mean(0).tolist())
    assert answer.parts.names == ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6")


@pytest.mark.known_answer
def test_large_scores_hide_from_the_cross_entropy_and_not_from_the_margin(lines, toy, rng):
    loud = toy.evidence_of(lines.linear_of(1000 * lines.first), lines.task)
    blind = curve.measure(loud, curve.Config(largest=0.6), rng)
    seeing = curve.measure(loud, curve.Config(largest=0.6, loss="log-odds"), rng)
    assert seeing.matrix().tolist() == exact(lines, lines.first, 0.6).tolist()
    assert blind["radius 6"].mean() > seeing["radius 6"].mean() + 0.3


def test_it_never_gives_a_verdict(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    (doubt,) = curve.measure(mine, curve.Config(), rng).doubts
    assert doubt.text.startswith("a curve of one plain attack, which overestimates: read robustness.accuracy")
    assert not doubt.one_sided


def test_at_a_radius_of_zero_six_are_told_all_the_same(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    answer = curve.measure(mine, curve.Config(largest=0.0), rng)
    assert answer.matrix().shape == (120, 6)
    assert answer.parts.names == ("0",) * 6


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_it_costs_what_it_says(lines, toy, rng, attack):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    before = mine.passes.forward + mine.passes.backward
    config = curve.Config(attack=attack, largest=0.3)
    curve.measure(mine, config, rng)
    assert mine.passes.forward + mine.passes.backward - before == curve.effort(config, lines.task)


def test_a_task_without_bounds_is_one_line(lines, toy, rng):
    boundless = toy.evidence_of(lines.linear_of(lines.first), toy.task_of(lines.inputs, lines.labels, bounds=None))
    with pytest.raises(NotMeasurableError, match="needs bounds"):
        curve.measure(boundless, curve.Config(), rng)
