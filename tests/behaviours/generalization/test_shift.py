import numpy as np
import pytest
import torch
from torch.nn import functional

from whatelse.behaviours.generalization import _corruptions, shift
from whatelse.errors import NotMeasurableError
from whatelse.tasks.task import Task

SEVERITIES = tuple(f"severity {k}" for k in range(1, 6))


def images_of(toy, count=60, bounds=(0.0, 1.0), channels=1):
    rng = torch.Generator().manual_seed(2)
    return toy.task_of(torch.rand(count, channels, 8, 8, generator=rng), torch.arange(count) % 2, bounds=bounds)


def table_of(toy, count=3000):
    """Columns of spread 1 and 10; the class is the sign of the first."""
    rng = torch.Generator().manual_seed(3)
    inputs = torch.randn(count, 2, generator=rng) * torch.tensor([1.0, 10.0])
    return toy.task_of(inputs, (inputs[:, 0] > 0).long(), bounds=None)


def corrupted(task, kind, levels=(1, 2, 3, 4, 5), seed=0):
    """Corrupted inputs by severity, each ``(N, ...)``."""
    found = [torch.empty_like(task.test.inputs) for _ in levels]
    for rows, inputs, column in _corruptions.corrupted(task, kind, levels, torch.Generator().manual_seed(seed)):
        found[column][rows] = inputs
    return found


def with_shifted(task, inputs, targets, toy):
    return Task("toy", task.classes, task.bounds, {**task.splits, "shifted": toy.split_of(inputs, targets)})


@pytest.mark.known_answer
def test_the_shifted_split_is_asked_as_it_is(linear, toy, task, rng):
    evidence = toy.evidence_of(linear, with_shifted(task, torch.tensor([[1.0, 0], [2, 0], [-3, 0]]), [1, 0, 1], toy))
    answer = shift.measure(evidence, shift.Config(kind="shifted"), rng)
    assert answer["shifted"].tolist() == [1, 0, 0]
    assert shift.summarise(answer, shift.Config(), np.array([[1, 1, 1], [3, 1, 0]])) == pytest.approx([1 / 3, 3 / 4])
    assert answer.parts.names == ("shifted",)


@pytest.mark.known_answer
def test_column_noise_errs_as_often_as_arctan_says(linear, toy, rng):
    evidence = toy.evidence_of(linear, table_of(toy))
    answer = shift.measure(evidence, shift.Config(), rng)
    # The sign of a standard normal x is lost in x + s z with probability arctan(s) / pi.
    expected = 1 - np.arctan([0.1, 0.2, 0.4, 0.6, 1.0]) / np.pi
    parts = shift.by_part(answer, shift.Config(), toy.ones(answer))[0]
    # Four standard errors of a share of 3,000.
    assert parts == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(3000))
    assert shift.summarise(answer, shift.Config(), toy.ones(answer)) == pytest.approx([parts.mean()])
    assert answer.parts.names == SEVERITIES


@pytest.mark.known_answer
@pytest.mark.parametrize(("kind", "error"), [("dropout", 0.5), ("shuffle", 0.5)])
def test_lost_cells_are_guessed(linear, toy, rng, kind, error):
    answer = shift.measure(toy.evidence_of(linear, table_of(toy)), shift.Config(kind=kind, severity=5), rng)
    # Half of the cells of the first column are lost, and half of those are right by chance.
    assert list(answer.columns) == ["severity 5"]
    assert answer["severity 5"].mean() == pytest.approx(1 - 0.5 * error, abs=4 * 0.5 / np.sqrt(3000))


def test_a_severity_alone_is_its_column_of_all_five(linear, toy):
    evidence = toy.evidence_of(linear, table_of(toy, 200))
    every, one = (shift.measure(evidence, shift.Config(severity=s), torch.Generator().manual_seed(4)) for s in (0, 3))
    assert every["severity 3"].tolist() == one["severity 3"].tolist()
    assert one.parts.names == ("severity 3",)


class Spy(torch.nn.Module):
    """Remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return 3 * x.flatten(1)[:, :2]


def test_every_model_sees_the_same_inputs_whatever_its_batch(toy):
    task, seen = images_of(toy), []
    for batch in (7, 60):
        evidence = toy.evidence_of(Spy(), task)
        evidence.batch = batch
        evidence.model.asked.clear()
        shift.measure(evidence, shift.Config(kind="every"), torch.Generator().manual_seed(1))
        seen.append(torch.cat(evidence.model.asked))
    assert len(seen[0]) == 25 * 60
    assert torch.equal(seen[0], seen[1])


def test_chunks_of_rows_cover_all_inputs_and_repeat(toy, monkeypatch):
    task = images_of(toy)
    blurred = corrupted(task, "blur")
    monkeypatch.setattr(_corruptions, "_VALUES", 64 * 7)
    assert all(torch.equal(a, b) for a, b in zip(blurred, corrupted(task, "blur"), strict=True))
    noisy = corrupted(task, "noise")
    assert all(torch.equal(a, b) for a, b in zip(noisy, corrupted(task, "noise"), strict=True))
    assert not torch.equal(noisy[0], corrupted(task, "noise", seed=1)[0])


@pytest.mark.known_answer
def test_noise_on_images_has_its_strength_and_stays_in_bounds(toy):
    task = images_of(toy, bounds=(-9.0, 11.0))
    strengths = [float((x - task.test.inputs).std()) for x in corrupted(task, "noise")]
    assert strengths == pytest.approx([20 * s for s in (0.04, 0.08, 0.12, 0.18, 0.26)], rel=0.1)
    tight = images_of(toy)
    for kind in ("noise", "brightness"):
        hard = corrupted(tight, kind)[-1]
        assert float(hard.min()) >= 0
        assert float(hard.max()) == 1


@pytest.mark.known_answer
def test_blur_spreads_a_point_as_a_gaussian_and_keeps_its_light(toy):
    inputs = torch.zeros(2, 2, 15, 15)
    inputs[:, :, 7, 7] = 1
    task = toy.task_of(inputs, [0, 1], bounds=(0, 1))
    for made, width in zip(corrupted(task, "blur"), (0.4, 0.6, 0.8, 1.1, 1.5), strict=True):
        slow = torch.exp(-((torch.arange(15) - 7.0) ** 2) / (2 * width**2))
        slow[(torch.arange(15) - 7).abs() > np.ceil(3 * width)] = 0
        slow /= slow.sum()
        assert made[1, 1].numpy() == pytest.approx(torch.outer(slow, slow).numpy(), abs=1e-6)
    flat = toy.task_of(torch.full((2, 1, 4, 4), 0.3), [0, 1], bounds=(0, 1))
    assert corrupted(flat, "blur")[-1].flatten().tolist() == pytest.approx([0.3] * 32)


def test_blur_repeats_the_border_as_a_convolution_of_padded_images_does(toy):
    rng = torch.Generator().manual_seed(4)
    task = toy.task_of(torch.rand(4, 2, 5, 7, generator=rng), [0, 1, 0, 1], bounds=(0, 1))
    for made, width in zip(corrupted(task, "blur"), (0.4, 0.6, 0.8, 1.1, 1.5), strict=True):
        reach = int(np.ceil(3 * width))
        weights = torch.exp(-((torch.arange(-reach, reach + 1.0) / width) ** 2) / 2)
        kernel = torch.outer(weights, weights) / weights.sum() ** 2
        padded = functional.pad(task.test.inputs, (reach,) * 4, mode="replicate")
        slow = functional.conv2d(padded, kernel.expand(2, 1, -1, -1), groups=2)
        assert made.numpy() == pytest.approx(slow.numpy(), abs=1e-6)


@pytest.mark.known_answer
def test_contrast_and_brightness_by_hand(toy):
    inputs = torch.tensor([[[[0.2, 0.4]]], [[[0.5, 0.5]]]])
    task = toy.task_of(inputs, [0, 1], bounds=(0, 1))
    mild, strong = corrupted(task, "contrast", (2, 5))
    assert mild.flatten().tolist() == pytest.approx([0.25, 0.35, 0.5, 0.5])
    assert strong.flatten().tolist() == pytest.approx([0.285, 0.315, 0.5, 0.5])
    (bright,) = corrupted(task, "brightness", (3,))
    assert bright.flatten().tolist() == pytest.approx([0.35, 0.55, 0.65, 0.65])


def test_a_dropped_pixel_loses_all_channels_and_stays_dropped(toy):
    task = images_of(toy, channels=3)
    mean = task.train.inputs.mean((0, 2, 3))
    before = torch.zeros(60, 8, 8, dtype=torch.bool)
    for made, share in zip(corrupted(task, "dropout"), (0.05, 0.1, 0.2, 0.3, 0.4), strict=True):
        gone = (made != task.test.inputs).all(1)
        assert torch.allclose(made.movedim(1, 3)[gone], mean)
        assert torch.equal(made.movedim(1, 3)[~gone], task.test.inputs.movedim(1, 3)[~gone])
        assert float(gone.float().mean()) == pytest.approx(share, abs=4 * 0.5 / np.sqrt(3840))
        assert not (before & ~gone).any()
        before = gone


def test_shuffled_cells_come_from_their_own_column(toy):
    task = table_of(toy, 100)
    made = corrupted(task, "shuffle")[-1]
    for column in (0, 1):
        assert set(made[:, column].tolist()) <= set(task.test.inputs[:, column].tolist())
    assert not torch.equal(made, task.test.inputs)


def test_texts_lose_tokens_and_never_all_of_them(toy, rng):
    inputs = torch.tensor([[3.0, 0, 0, 0]] * 20 + [[1.0, 2, 3, 4]] * 20)
    whole = toy.task_of(inputs, torch.arange(40) % 2, bounds=None)
    task = Task("texts", 2, None, whole.splits, vocabulary=5)
    hard = corrupted(task, "noise")[-1]
    assert torch.equal(hard[:20], inputs[:20])
    assert (hard != 0).any(1).all()
    assert ((hard == inputs) | (hard == 0)).all()
    assert 0.2 < float((hard[20:] == 0).float().mean()) < 0.7
    assert all(torch.equal(a, b) for a, b in zip(corrupted(task, "noise"), corrupted(task, "dropout"), strict=True))
    with pytest.raises(NotMeasurableError, match="blur is no corruption of tokens; allowed are noise, dropout"):
        next(_corruptions.corrupted(task, "blur", (1,), rng))


def test_every_kind_is_the_mean_over_the_kinds(linear, toy):
    evidence = toy.evidence_of(linear, table_of(toy, 50))
    rng = torch.Generator().manual_seed(6)
    each = [shift.measure(evidence, shift.Config(kind=k), rng).table() for k in ("noise", "dropout", "shuffle")]
    every = shift.measure(evidence, shift.Config(kind="every"), torch.Generator().manual_seed(6))
    assert every.table() == pytest.approx(np.mean(each, 0))


def test_every_kind_of_texts_is_asked_once(toy):
    inputs = torch.randint(1, 9, (30, 6), generator=torch.Generator().manual_seed(8)).float()
    task = Task("texts", 2, None, toy.task_of(inputs, torch.arange(30) % 2, bounds=None).splits, vocabulary=9)
    found = []
    for kind in ("every", "noise"):
        evidence = toy.evidence_of(Spy(), task)
        evidence.model.asked.clear()
        answer = shift.measure(evidence, shift.Config(kind=kind), torch.Generator().manual_seed(1))
        found.append((torch.from_numpy(answer.table()), torch.cat(evidence.model.asked)))
    assert len(found[0][1]) == 5 * 30
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_what_cannot_be_shifted_says_why(linear, toy, task, rng):
    evidence = toy.evidence_of(linear, task)
    with pytest.raises(NotMeasurableError, match="needs a split named 'shifted'; task toy has none"):
        shift.measure(evidence, shift.Config(kind="shifted"), rng)
    with pytest.raises(NotMeasurableError, match="contrast is no corruption of table"):
        shift.measure(evidence, shift.Config(kind="contrast"), rng)
