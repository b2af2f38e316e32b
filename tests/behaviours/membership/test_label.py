import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from whatelse.behaviours.membership import label, loss
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models.subject import Subject
from whatelse.tasks.task import Split, Task

LEVELS = (0.25, 0.5, 1.0, 2.0)


class Linear(torch.nn.Module):
    """Says the second class where the first feature is above zero, so loud; ``hard``: the class alone."""

    def __init__(self, loud=1.0, *, hard=False):
        super().__init__()
        self.loud, self.hard = loud, hard

    def forward(self, x):
        odds = self.loud * x.flatten(1)[:, 0]
        scores = torch.stack([-odds, odds], 1)
        return torch.nn.functional.one_hot(scores.argmax(1), 2).float() if self.hard else scores


def evidence_of(model, task):
    return Evidence(Subject("m", model.eval(), "k", without=frozenset({"differentiates", "opens"})), task)


def drawn(toy, rng, members, others, features=3, bounds=None):
    """A task of records whose first feature is the distance to the border of `Linear`, on either side."""
    splits = []
    for away in (members, others):
        side = (torch.arange(len(away)) % 2 * 2 - 1).float()
        x = torch.randn(len(away), features, generator=rng)
        x[:, 0] = torch.as_tensor(away).float() * side
        splits.append(toy.split_of(x, (side > 0).long(), (side > 0).long()))
    train, test = splits
    return toy.task_of(test.inputs, test.targets, bounds=bounds, observed=test.observed, train=train)


@pytest.mark.known_answer
def test_of_a_linear_model_the_score_is_the_mean_of_phi_of_the_distance_in_noises(toy, rng):
    away = torch.linspace(-0.5, 3, 400)  # below zero: on the wrong side
    task = drawn(toy, rng, away, away)
    answer = label.measure(evidence_of(Linear(), task), label.Config(copies=50), rng)
    spread = float(task.train.inputs[:, 0].std(correction=0))
    at = away.numpy()
    expected = (1.0 * (at > 0) + sum(norm.cdf(at / (s * spread)) for s in LEVELS)) / 5
    # Fifty copies at four noises: an error of at most 0.07 at each noise, of which four fifths of a half are left.
    found = answer["score"][:400]
    assert np.abs(found - expected).max() < 0.1
    assert np.abs(found - expected).mean() < 0.02
    assert answer["member"].tolist() == [1.0] * 400 + [0.0] * 400
    assert answer.notes[0] == "lower bound: labels of 201 copies of each record, without references"


@pytest.mark.known_answer
def test_members_that_lie_farther_off_are_found_as_well_as_their_distance_tells(toy, rng):
    members, others = 1.0 + torch.randn(300, generator=rng), 0.3 + torch.randn(300, generator=rng)
    answer = label.measure(evidence_of(Linear(), drawn(toy, rng, members, others)), label.Config(copies=40), rng)
    found = label.summarise(answer, label.Config(), toy.ones(answer))
    exact = roc_auc_score([1] * 300 + [0] * 300, torch.cat([members, others]))
    assert found == pytest.approx([exact], abs=0.03)
    by_part = label.by_part(answer, label.Config(), toy.ones(answer))
    assert np.isnan(by_part[0, 0])
    assert by_part[0, 2] > 0.6


@pytest.mark.known_answer
def test_hidden_and_louder_scores_hide_nothing_from_it(toy, rng):
    members, others = 1.0 + torch.randn(200, generator=rng), 0.2 + torch.randn(200, generator=rng)
    task = drawn(toy, rng, members, others)
    plain, loud, hard = (evidence_of(m, task) for m in (Linear(), Linear(1000.0), Linear(hard=True)))
    found = [label.measure(e, label.Config(), rng) for e in (plain, loud, hard)]
    assert all(torch.equal(one.columns["score"], found[0].columns["score"]) for one in found)
    assert not any(one.doubts for one in found)
    areas = [
        float(loss.summarise(loss.measure(e, loss.Config(), rng), loss.Config(), toy.ones(found[0]))[0])
        for e in (plain, hard)
    ]
    assert areas[1] < areas[0] - 0.05


@pytest.mark.known_answer
def test_images_are_shifted_by_a_pixel_and_edges_go_on(toy, rng):
    class Corner(torch.nn.Module):
        """Says the second class where the upper left pixel is lit."""

        def forward(self, x):
            return torch.stack([0.5 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 0.5], 1)

    dark = torch.zeros(6, 1, 4, 4)
    lit = dark.clone()
    lit[:, :, 0, 0] = 1
    x = torch.cat([lit[:3], dark[:3]])
    split = Split(x, torch.tensor([1, 1, 1, 0, 0, 0]), torch.tensor([1, 1, 1, 0, 0, 0]))
    task = Task("images", 2, (0.0, 1.0), dict.fromkeys(("train", "calibration", "select", "test"), split))
    # What is said of shifts alone: all noise is turned down to nothing.
    found = label._score(evidence_of(Corner(), task), split, 6, torch.tensor(0.0), 1, rng)
    # The edge goes on, so that the corner stays lit where the image moves down, right or both: 3 of 8 shifts.
    assert found.tolist() == pytest.approx([(5 + 3 / 8) / 6] * 3 + [1.0] * 3)


def test_noise_stays_in_bounds_and_columns_have_noise_of_their_own(toy, rng):
    seen = []

    class Seeing(Linear):
        def forward(self, x):
            seen.append(x.clone())
            return super().forward(x)

    task = drawn(toy, rng, torch.ones(50), torch.ones(50), bounds=(-3.0, 3.0))
    task.train.inputs[:, 2] = 0.5  # a column that never changes
    label.measure(evidence_of(Seeing(), task), label.Config(), rng)
    every = torch.cat(seen)
    assert every.min() >= -3
    assert every.max() <= 3
    members = torch.cat(seen[: len(seen) // 2])
    assert torch.equal(members[:, 2], torch.full((len(members),), 0.5))


def test_it_asks_of_as_many_as_it_says_and_rows_are_records(toy, rng):
    task = drawn(toy, rng, torch.ones(50), torch.ones(30))
    mine = evidence_of(Linear(), task)
    answer = label.measure(mine, label.Config(examples=20), rng)
    assert mine.passes.forward == label.effort(label.Config(examples=20), task) == 40 * 17
    assert answer.rows.tolist() == [*range(20), *range(50, 70)]
    assert len(label.measure(mine, label.Config(), rng)) == 60


def test_texts_are_one_line(rng):
    ids = torch.randint(1, 9, (4, 5), generator=rng).float()
    split = Split(ids, torch.arange(4) % 2, torch.arange(4) % 2)
    task = Task("texts", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split), vocabulary=9)
    with pytest.raises(NotMeasurableError, match="needs inputs that noise can move; task texts is of tokens"):
        label.measure(evidence_of(Linear(), task), label.Config(), rng)
