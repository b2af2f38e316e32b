import numpy as np
import pytest
import torch

from whatelse.behaviours.attribution import deletion
from whatelse.errors import NotMeasurableError


def linear(weight):
    """Two classes: the margin of class 1 is ``w x``."""
    weight = torch.as_tensor(weight, dtype=torch.float32)
    model = torch.nn.Linear(len(weight), 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.stack([-weight / 2, weight / 2]))
    return model


@pytest.fixture
def seen(toy):
    def make(model, inputs, train=None):
        inputs = torch.as_tensor(inputs, dtype=torch.float32)
        train = None if train is None else toy.split_of(torch.as_tensor(train), torch.arange(len(train)) % 2)
        return toy.evidence_of(model, toy.task_of(inputs, torch.arange(len(inputs)) % 2, train=train))

    return make


def values_of(evidence, config, rng):
    return deletion.measure(evidence, config, rng).columns["area"]


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z)))


@pytest.mark.known_answer
def test_both_areas_of_a_linear_model_by_hand(seen, toy, rng):
    # Contributions of row 0 to class 1: 1, 3, -2, 2 (margin 4); of row 1 to class 0: 4, 0, 1, 1 (margin 6).
    evidence = seen(linear([1, 1, 1, 1]), [[1.0, 3, -2, 2], [-4, 0, -1, -1]])
    config = deletion.Config(reference="zero", fractions=4)
    answer = deletion.measure(evidence, config, rng)
    curves = sigmoid([[4, 1, -1, -2, 0], [6, 2, 1, 0, 0]])
    expected = [c[0] - np.trapezoid(c, dx=1 / 4) for c in curves]
    assert answer["area"].tolist() == pytest.approx(expected, abs=1e-6)
    assert deletion.summarise(answer, config, toy.ones(answer)) == pytest.approx([np.mean(expected)])
    inserted = values_of(evidence, deletion.Config(score="insertion", reference="zero", fractions=4), rng)
    curves = sigmoid([[0, 3, 5, 6, 4], [0, 4, 5, 6, 6]])
    assert inserted.tolist() == pytest.approx([np.trapezoid(c, dx=1 / 4) for c in curves], abs=1e-6)


@pytest.mark.known_answer
def test_of_sensitivities_the_absolute_value_orders_and_the_mean_of_train_hides(seen, rng):
    evidence = seen(linear([1, -3, 2]), [[5.0, 1, 1], [1, 1, 0]], train=[[1.0, 0, 0], [0, 1, 0]])
    values = values_of(evidence, deletion.Config(map="gradient", fractions=3), rng)
    # The order is columns 1, 2, 0; hidden they are .5, 0, .5. Margins of class 1 in row 0, of class 0 in row 1:
    curves = sigmoid([[4, 5.5, 3.5, -1], [2, 0.5, 0.5, 1]])
    assert values.tolist() == pytest.approx([c[0] - np.trapezoid(c, dx=1 / 3) for c in curves], abs=1e-6)


@pytest.mark.known_answer
@pytest.mark.parametrize("reference", ["mean", "blurred"])
@pytest.mark.parametrize("score", ["deletion", "insertion"])
def test_of_images_whole_pixels_go_as_in_a_slow_rewrite(toy, rng, score, reference):
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(24, 3))
    for p in net.parameters():
        torch.nn.init.normal_(p, 0, 0.5, generator=rng)
    x = torch.rand(5, 2, 4, 6, generator=rng)
    evidence = toy.evidence_of(net, toy.task_of(x, torch.arange(5) % 3, classes=3))
    config = deletion.Config(score=score, reference=reference, fractions=5, examples=4)
    values = values_of(evidence, config, rng)
    expected = []
    for i in range(4):
        other = x.mean(0) if reference == "mean" else blurred(x[i].numpy())
        worth = (evidence.margin_gradient()[i] * x[i]).sum(0).flatten().tolist()
        order = sorted(range(24), key=lambda u: -worth[u])
        curve = []
        for j in range(6):
            top = order[: round(24 * j / 5)]
            picture = x[i].clone() if score == "deletion" else torch.as_tensor(other).clone()
            for u in top:
                source = other if score == "deletion" else x[i]
                picture[:, u // 6, u % 6] = torch.as_tensor(source)[:, u // 6, u % 6]
            curve.append(float(net(picture[None]).softmax(1)[0, evidence.predictions()[i]]))
        area = np.trapezoid(curve, dx=1 / 5)
        expected.append(curve[0] - area if score == "deletion" else area)
    assert values.tolist() == pytest.approx(expected, abs=1e-5)


def blurred(image):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, (0, 1, 1), mode="nearest", truncate=3).astype(np.float32)


@pytest.mark.parametrize(("score", "worst"), [("deletion", -1), ("insertion", 0)])
def test_a_map_that_says_nothing_is_worst_and_counted(seen, rng, score, worst):
    evidence = seen(linear([1, 2]), [[0.0, 0.0], [1.0, 1.0], [2.0, 1.0]])
    evidence.margin_gradient()[2, 0] = float("nan")
    answer = deletion.measure(evidence, deletion.Config(score), rng)
    assert answer["area"][[0, 2]].tolist() == [worst, worst]
    assert answer["area"][1] > 0.02
    assert answer.notes == ("2 of 3 maps are all zero or not finite: scored as worst",)
    assert answer.ends == {"worst": worst, "blind": 0.0 if score == "deletion" else None}


def test_what_cannot_be_is_refused(seen, rng):
    evidence = seen(linear([1, 2]), [[1.0, 2.0], [1.0, 1.0]])
    with pytest.raises(NotMeasurableError, match="blurred needs images; task toy is of table"):
        values_of(evidence, deletion.Config(reference="blurred"), rng)


def test_answers_that_are_not_finite_are_refused(toy, rng):
    class Divides(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0] / x.sum(1), -x[:, 0] / x.sum(1)], 1)

    evidence = toy.evidence_of(Divides(), toy.task_of(torch.rand(4, 3, generator=rng) + 1, torch.arange(4) % 2))
    with pytest.raises(NotMeasurableError, match="model has no finite answer to inputs with hidden parts"):
        values_of(evidence, deletion.Config(reference="zero"), rng)


def test_maps_in_order_beat_maps_upside_down(seen, rng):
    """What the map of another model says is worth less than what the model's own says."""
    weight, x = torch.randn(30, generator=rng), torch.randn(40, 30, generator=rng)
    own, other = seen(linear(weight), x), seen(linear(weight), x)
    other.margin_gradient()[:] = -own.margin_gradient()
    for score in ("deletion", "insertion"):
        config = deletion.Config(score=score, reference="zero")
        assert bool((values_of(own, config, rng) > values_of(other, config, rng) + 0.2).all())


def test_a_model_that_never_believed_in_the_class_gains_nothing_by_deletion(seen, rng):
    x = torch.randn(40, 30, generator=rng)
    own, other = seen(linear(torch.randn(30, generator=rng)), x), seen(linear(torch.randn(30, generator=rng)), x)
    other.reference = own
    values = [values_of(e, deletion.Config(reference="zero"), rng) for e in (own, other)]
    assert float(values[0].mean()) > float(values[1].mean()) + 0.1
