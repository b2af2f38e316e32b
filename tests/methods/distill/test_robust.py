import copy

import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.methods.distill import robust
from whatelse.methods.train import adversarial
from whatelse.training.initialize import initialize


def net_of(rng):
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    initialize(model, rng)
    return model.eval().requires_grad_(requires_grad=False)


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("eps", "mix", "align", "t"), [(0.3, 1.0, 0.0, 4.0), (0.0, 0.5, 2.0, 1.0), (0.2, 0.7, 0.5, 3.0)]
)
def test_of_linear_models_it_descends_the_loss_written_out(eps, mix, align, t, toy, adam):
    # Two linear models of two classes: the attack is a corner of the ball, and grad_x CE = (p - onehot) W.
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 4, generator=rng), torch.arange(12) % 2
    teacher, start = nn.Linear(4, 2), nn.Linear(4, 2)
    initialize(teacher, rng)
    initialize(start, torch.Generator().manual_seed(9))
    settings = {"teacher": "", "student": "train.scratch(epochs=0)", "eps": eps, "mix": mix, "align": align}
    config = robust.Config(**settings, temperature=t, steps=8, epochs=12, rate=0.05, batch=12)
    taught = robust.compress(teacher, config, toy.task_of(x, y), torch.Generator().manual_seed(9))

    x, onehot = x.double(), torch.eye(2, dtype=torch.float64)[y]
    big_w, big_b = (p.detach().double() for p in teacher.parameters())
    w, b = (p.detach().double().requires_grad_() for p in start.parameters())

    def objective():
        moved = x + eps * (w[1 - y] - w[y]).detach().sign()
        p, q = (torch.softmax(z / t, 1) for z in (x @ big_w.T + big_b, moved @ w.T + b))
        said = torch.softmax(x @ w.T + b, 1)
        kl = (p * (p / q).log()).sum(1).mean()
        ce = -(onehot * said.log()).sum(1).mean()
        apart = (said - onehot) @ w - (torch.softmax(x @ big_w.T + big_b, 1) - onehot) @ big_w
        return mix * t**2 * kl + (1 - mix) * ce + align * (apart**2).sum(1).sqrt().mean()

    adam([w, b], objective, 12, 0.05)
    assert torch.allclose(taught.weight.double(), w, atol=1e-4)
    assert torch.allclose(taught.bias.double(), b, atol=1e-4)


@pytest.mark.known_answer
def test_gradients_by_the_input_and_of_their_distance_agree_with_differences(rng):
    teacher, pupil = net_of(rng).double(), net_of(rng).double()
    x, y = torch.randn(5, 3, generator=rng, dtype=torch.float64), torch.arange(5) % 2
    tiny = 1e-5
    slope = robust._slope(pupil, x, y, keep=False)
    for i, e in enumerate(tiny * torch.eye(3, dtype=torch.float64)):
        up, down = (nn.functional.cross_entropy(pupil(at), y, reduction="none") for at in (x + e, x - e))
        assert torch.allclose((up - down) / (2 * tiny), slope[:, i], atol=1e-8)

    goal = robust._slope(teacher, x, y, keep=False)
    weight = pupil[0].weight.requires_grad_()

    def distance():
        return robust._apart(robust._slope(pupil, x, y, keep=True), goal)

    (by_weight,) = torch.autograd.grad(distance(), weight)
    with torch.no_grad():
        weight[2, 1] += tiny
        above = distance()
        weight[2, 1] -= 2 * tiny
        below = distance()
    assert float((above - below).detach() / (2 * tiny)) == pytest.approx(float(by_weight[2, 1]), abs=1e-7)


def test_by_default_the_teacher_is_trained_on_attacks_and_the_student_is_smaller(toy):
    # One large feature that is wrong in a tenth of the cases, ten small ones that an attack turns round.
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 2
    sign = (2.0 * y - 1)[:, None]
    strong = torch.where(torch.rand(200, 1, generator=rng) < 0.1, -sign, sign)
    x = torch.cat([strong, 0.1 * sign + 0.05 * torch.randn(200, 10, generator=rng)], 1)
    model, task = nn.Sequential(nn.Linear(11, 8), nn.ReLU(), nn.Linear(8, 2)), toy.task_of(x, y)
    initialize(model, rng)
    before = copy.deepcopy(model.state_dict())
    found = {}
    for eps in (0.0, 0.3):
        teacher = f"train.adversarial(eps={eps}, epochs=20)"
        config = robust.Config(teacher=teacher, eps=eps, epochs=20)
        student = robust.compress(model, config, task, torch.Generator().manual_seed(1))
        assert student[0].weight.shape == (4, 11)
        flat = torch.cat([strong, x[:, 1:] - 0.3 * sign], 1)  # the small features attacked, the large one left
        found[eps] = float((student(flat).argmax(1) == y).float().mean())
    assert found[0.3] > 0.85 > 0.5 > found[0.0]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_attention_has_second_derivatives_here(toy, rng):
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))

    model = Attending()
    initialize(model, rng)
    task = toy.task_of(torch.randn(10, 3, 4, generator=rng), torch.arange(10) % 2)
    config = robust.Config(teacher="", student="train.finetune(epochs=0)", align=1.0, epochs=1, steps=1)
    taught = robust.compress(model, config, task, rng)
    assert not torch.equal(taught.attention.in_proj_weight, model.attention.in_proj_weight)


def test_what_cannot_be_attacked_or_narrowed_is_refused(toy, task, rng):
    words = toy.task_of(torch.zeros(4, 3, dtype=torch.int64), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(RecipeError, match=r"distill\.robust: the inputs are torch\.int64"):
        robust.compress(nn.Linear(3, 2), robust.Config(), words, rng)
    config = robust.Config(teacher="", student="quantize.uniform()")
    with pytest.raises(RecipeError, match="no trainable parameters"):
        robust.compress(nn.Linear(2, 2), config, task, rng)


def test_the_attack_it_teaches_against_is_that_of_adversarial_training():
    mine, theirs = robust.Config(), adversarial.Config()
    assert (mine.eps, mine.step, mine.steps) == (theirs.eps, theirs.step, theirs.steps)
