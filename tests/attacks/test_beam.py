import itertools
import math

import pytest
import torch

from whatelse.attacks import beam


class Bits:
    """Each of the features that is 0 may be made 1, the first of them never."""

    count = 5

    def open(self, points, clean):
        return (points == 0) & (torch.arange(5) > 0)

    def made(self, points, moves):
        return points.scatter(1, moves[:, None], 1.0)


class Product(torch.nn.Module):
    """A score that only two features together lower by much."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, x):
        score = 3 + x @ self.weights - 5 * x[:, 1] * x[:, 4]
        return torch.stack([score, torch.zeros_like(score)], 1)


@pytest.fixture
def asked(toy):
    inputs = torch.zeros(4, 5)
    inputs[1, 1] = inputs[2, 2] = 1
    inputs[3] = 1
    model = Product(torch.tensor([-9.0, -0.5, 0.5, -1.0, -0.7]))
    return toy.evidence_of(model, toy.task_of(inputs, [0, 0, 0, 1])), inputs


def score(asked, x):
    return float(asked.model(x[None])[0, 0])


@pytest.mark.known_answer
def test_one_replacement_deep_all_are_tried_and_the_worst_kept(asked):
    mine, inputs = asked
    beams, least = beam.widen(mine, inputs[:3, None], inputs[:3], torch.zeros(3).long(), Bits())
    assert beams.shape == (3, beam.WIDTH, 5)
    for x, found, margins in zip(inputs, beams, least, strict=False):
        every = [x + e for e in torch.eye(5)[1:] if not bool((x * e).any())]
        scores = sorted(score(mine, z) for z in every)
        assert margins.tolist() == pytest.approx(scores[: beam.WIDTH])
        assert [score(mine, z) for z in found] == pytest.approx(scores[: beam.WIDTH])
    assert mine.passes.forward == 4 + 3 + 3


@pytest.mark.known_answer
def test_two_deep_the_beams_find_what_greed_alone_would_not(asked):
    mine, inputs = asked
    clean, labels = inputs[:1], torch.zeros(1).long()
    one, _ = beam.widen(mine, clean[:, None], clean, labels, Bits())
    two, least = beam.widen(mine, one, clean, labels, Bits())
    every = [a + b for a, b in itertools.combinations(torch.eye(5)[1:], 2)]
    assert one[0, 0].tolist() == [0, 0, 0, 1, 0], "the worst single one is no part of the worst pair"
    assert least[0, 0] == pytest.approx(min(score(mine, z) for z in every))
    assert two[0, 0].tolist() == [0, 1, 0, 0, 1]
    assert beam.worst(torch.cat([one, two], 1), torch.cat([least + 9, least], 1)).tolist() == [two[0, 0].tolist()]
    assert mine.passes.forward <= beam.tries(4, 2)


def test_where_nothing_is_left_a_beam_stays(asked):
    mine, inputs = asked
    beams, least = beam.widen(mine, inputs[3:, None], inputs[3:], torch.ones(1).long(), Bits())
    assert least.tolist() == [[math.inf] * 3]
    assert torch.equal(beams, inputs[3:, None].expand(1, 3, 5))
    assert mine.passes.forward == 0
    none = Bits()
    none.count = 0
    assert torch.equal(beam.widen(mine, inputs[:, None], inputs, torch.zeros(4).long(), none)[0], inputs[:, None])


@pytest.mark.known_answer
def test_margin_and_mistakes_are_those_of_the_scores(toy):
    logits = torch.tensor([[3.0, 1.0, 2.5], [0.0, 4.0, 1.0]])
    mine = toy.evidence_of(toy.Canned(logits), toy.task_of(torch.tensor([[0.0], [1.0]]), [0, 1], classes=3))
    points, labels = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 2])
    assert beam.margin(mine, points, labels).tolist() == [0.5, -3]
    assert beam.wrong(mine, points, labels).tolist() == [False, True]


def test_tries_and_rows_are_bounded():
    assert [beam.tries(10, depth) for depth in (0, 1, 2)] == [0, 10, 40]
    rows = torch.zeros(300, 10)
    assert [beam.rows(rows, moves) for moves in (0, 10_000, 10**7)] == [300, 133, 1]
    assert beam.rows(torch.zeros(1, 3, 1000).expand(3000, 3, 1000), 0) == 444
