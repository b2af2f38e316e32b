import numpy as np
import pytest
import torch

from whatelse.behaviours.efficiency import latency


class Slow(torch.nn.Module):
    """Takes the given seconds of a clock that it moves itself."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds, self.calls = clock, list(seconds), []

    def forward(self, x):
        self.clock[0] += self.seconds[len(self.calls) % len(self.seconds)]
        self.calls.append(len(x))
        return torch.stack([-x[:, 0], x[:, 0]], 1)


@pytest.fixture
def measured(toy, monkeypatch, rng):
    def make(before, after, **settings):
        clock = [100.0]
        monkeypatch.setattr(latency, "_seconds", lambda: clock[0])
        task = toy.task_of(torch.arange(1.0, 11.0)[:, None], torch.arange(10) % 2)
        models = Slow(clock, [0.0]), Slow(clock, [0.0])
        baseline, candidate = (toy.evidence_of(m, task) for m in models)
        for model, seconds in zip(models, (before, after), strict=True):
            model.seconds, model.calls = list(seconds), []
        answer = latency.compare(baseline, candidate, latency.Config(**settings), rng)
        return answer, models, candidate

    return make


@pytest.mark.known_answer
def test_each_turn_is_a_ratio_and_the_first_is_dropped(measured, toy):
    # A neighbour doubles both times of the third turn.
    answer, models, candidate = measured([9.0, 2.0, 4.0, 2.0], [1.0, 3.0, 6.0, 5.0], turns=3, batch=4)
    assert answer["ratio"].tolist() == pytest.approx([1.5, 1.5, 2.5])
    assert latency.summarise(answer, latency.Config(), toy.ones(answer)) == pytest.approx([1.5])
    assert [m.calls for m in models] == [[4] * 4, [4] * 4]
    assert candidate.passes.forward == 2 * 4 * 4


def test_a_batch_is_no_more_than_there_is(measured):
    _, models, _ = measured([1.0], [1.0], turns=2, batch=64)
    assert models[0].calls == [10, 10, 10]


@pytest.mark.known_answer
def test_the_median_of_a_resample_is_numpys(answer_of):
    draw = np.random.default_rng(0)
    ratios = draw.normal(size=15)
    counts = np.concatenate([np.ones((1, 15), int), draw.multinomial(14, np.full(15, 1 / 15), size=50)])
    slow = [np.median(np.repeat(ratios, c)) for c in counts]
    assert latency.summarise(answer_of({"ratio": ratios}), latency.Config(), counts) == pytest.approx(slow)


def test_the_real_clock_runs():
    first = latency._seconds()
    assert latency._seconds() >= first
