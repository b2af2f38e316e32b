import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.distill import logits
from whatelse.methods.distill._soft import hinton
from whatelse.modules.narrow import narrow
from whatelse.nets import cnn


def teacher_of(task):
    model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    with torch.no_grad():
        for p in model.parameters():
            p.uniform_(-1, 1, generator=torch.Generator().manual_seed(4))
    return model


@pytest.mark.known_answer
def test_the_loss_is_hintons():
    # A slow rewrite of the formula of the paper, example by example.
    taught = torch.tensor([[2.0, -1.0], [0.5, 0.5]])
    student = torch.tensor([[1.0, 0.0], [-1.0, 3.0]])
    config = logits.Config(temperature=3.0, mix=0.7)
    labels = torch.tensor([0, 1])
    slow = 0.0
    for z_t, z_s, y in zip(taught, student, labels, strict=True):
        p, q = torch.softmax(z_t / 3, 0), torch.softmax(z_s / 3, 0)
        kl = sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True))
        slow += (0.7 * 9 * kl - 0.3 * float(torch.log_softmax(z_s, 0)[y])) / 2
    said = hinton(student, taught, labels, config.temperature, config.mix)
    assert float(said) == pytest.approx(slow, rel=1e-5)


def test_the_student_is_smaller_and_comes_close_to_its_teacher(task, rng):
    teacher = teacher_of(task)
    config = logits.Config(width=0.5, epochs=400, rate=0.05, mix=1.0, temperature=1.0)
    student = logits.compress(teacher, config, task, rng)
    assert student[0].weight.shape == (4, 2)
    told, said = (torch.softmax(m(task.train.inputs), 1) for m in (teacher, student))
    assert torch.allclose(told, said, atol=0.05)


def test_every_hidden_width_of_a_convolutional_net_shrinks(rng):
    net = cnn.build(cnn.Config(width=8, hidden=16), (1, 8, 8), 10, rng)
    shapes = [tuple(p.shape) for n, p in narrow(net, 0.5, torch.zeros(1, 1, 8, 8)).named_parameters() if "weight" in n]
    assert shapes == [(4, 1, 3, 3), (8, 4, 3, 3), (8, 8, 3, 3), (8, 32), (10, 8)]


def test_what_cannot_be_narrowed_is_named(task, rng):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LSTM(2, 2))
    with pytest.raises(RecipeError, match="cannot narrow 1, a LSTM"):
        logits.compress(model, logits.Config(), task, rng)


def test_a_recipe_can_make_the_student_and_its_zeros_stay(task, rng):
    teacher = teacher_of(task)
    config = logits.Config(student="prune.magnitude(sparsity=0.5)", epochs=20)
    taught = logits.compress(teacher, config, task, rng)
    assert sum(int((p == 0).sum()) for p in (taught[0].weight, taught[2].weight)) == 16
    assert not torch.equal(taught[0].weight, teacher[0].weight)


def test_a_student_that_cannot_be_trained_is_refused(task, rng):
    config = logits.Config(student="quantize.uniform()")
    with pytest.raises(RecipeError, match="no trainable parameters"):
        logits.compress(teacher_of(task), config, task, rng)
