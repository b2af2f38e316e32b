"""A model against its own copies whose scores were scaled or shifted: only what is about the scale itself may move."""

from copy import deepcopy

import pytest
import torch
from torch import nn

import whatelse
from whatelse.tasks.task import Split, Task

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

SIDE, CLASSES = 6, 4
COPIES = {
    "times 1000": lambda z, x: 1000 * z,
    "by 1000": lambda z, x: z / 1000,
    "temperature 3": lambda z, x: z / 3,
    "shifted": lambda z, x: z + 20 * x.flatten(1).sum(1, keepdim=True).sin(),
    "log probabilities": lambda z, x: z.log_softmax(1),
}
SCALE = {"negative log-likelihood", "squared calibration error (debiased)"}
# One in a hundred thousand scores is rounded otherwise: 0.1 dB of a reconstruction, nothing of all else.
NEAR = {"input rebuilt from its gradient (PSNR)": 0.1}


class Changed(nn.Module):
    def __init__(self, model, change):
        super().__init__()
        self.model, self.change = model, change

    def forward(self, x):
        return self.change(self.model(x), x)


def part(n, rng, noise=0.0):
    y = torch.randint(CLASSES, (n,), generator=rng)
    patterns = torch.rand(CLASSES, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    x = (0.2 + 0.5 * patterns[y] + 0.25 * torch.randn(n, SIDE, SIDE, generator=rng)).clamp(0, 1)[:, None]
    wrong = torch.rand(n, generator=rng) < noise
    return Split(x, y, torch.where(wrong, (y + 1) % CLASSES, y), {"half": (x[:, 0, 0, 0] > 0.5).long()}, x > 0.5)


@pytest.fixture(scope="module")
def found():
    rng = torch.Generator().manual_seed(0)
    train = part(120, rng, noise=0.2)
    splits = {"train": train, "calibration": train.take(torch.arange(50)), "select": part(100, rng)}
    task = Task("toy", CLASSES, (0.0, 1.0), {**splits, "test": part(100, rng)}, {"half": ("dark", "light")})
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 24), nn.ReLU(), nn.Linear(24, CLASSES))
    for p in net.parameters():
        p.data = 0.2 * torch.randn(p.shape, generator=rng)
    descent = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(150):
        descent.zero_grad()
        nn.functional.cross_entropy(net(train.inputs), train.observed).backward()
        descent.step()
    copies = {name: Changed(deepcopy(net), change).eval() for name, change in COPIES.items()}
    asked = whatelse.audit(net.eval(), copies, task)
    return [f for f in asked.findings if f.unit not in {"parameters", "bytes", "multiply-accumulates"}]


@pytest.mark.parametrize("copy", COPIES)
def test_no_default_question_reads_a_change_that_can_be_undone_as_one(found, copy):
    mine = [f for f in found if f.candidate == copy]
    assert len({f.row for f in mine if f.effect is not None}) == 7
    for f in mine:
        if f.label in SCALE or f.unit_of_analysis == "layer":
            continue
        assert f.verdict not in {"improved", "worsened", "failed"}, f.label
        assert f.effect is not None, (f.label, f.why)
        assert abs(f.effect) <= NEAR.get(f.label, 2e-4), f.label


def test_what_is_about_the_scale_does_change(found):
    told = {f.candidate: f for f in found if f.label == "negative log-likelihood"}
    assert told["times 1000"].verdict == "worsened"
    assert told["by 1000"].effect != pytest.approx(0, abs=0.1)
    assert told["shifted"].verdict == told["log probabilities"].verdict == "unchanged"


def test_saturation_of_attacks_on_the_cross_entropy_is_named_and_nothing_else_is_doubted(found):
    said = {(f.candidate, d) for f in found for d in f.doubts if "biased by more than" not in d}
    assert {name for name, _ in said} <= {"times 1000", "by 1000"}
    assert all(text.startswith("masked for cross-entropy attacks") for _, text in said)
    assert any(name == "times 1000" for name, _ in said)
