import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.methods.distill import logits
from whatelse.modules import codec
from whatelse.modules.narrow import narrow
from whatelse.modules.notes import noted
from whatelse.nets import resnet, transformer
from whatelse.training.initialize import initialize


def shapes(model):
    return {n: tuple(p.shape) for n, p in model.named_parameters() if p.dim() > 1}


@pytest.mark.known_answer
def test_norms_dropout_and_nested_chains_are_narrowed(rng):
    inner = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1, padding_mode="reflect"), nn.BatchNorm2d(12), nn.SiLU())
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8, eps=0.1), nn.LeakyReLU(0.3), nn.Dropout(0.1), inner),
        *(nn.ReLU6(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 6)),
        nn.Sequential(nn.Tanh(), nn.Linear(6, 3)),
    )
    small = narrow(model, 0.5, torch.zeros(1, 3, 9, 9))
    assert list(shapes(small).values()) == [(4, 3, 3, 3), (6, 4, 3, 3), (3, 24), (3, 3)]
    assert (small[1].num_features, small[1].eps, small[8].num_features) == (4, 0.1, 24)
    assert (small[0].bias, small[4][0].padding_mode, small[2].negative_slope) == (None, "reflect", 0.3)
    initialize(small, rng)
    assert small(torch.randn(4, 3, 9, 9, generator=rng)).isfinite().all()


@pytest.mark.known_answer
@pytest.mark.parametrize("reloaded", [False, True])
def test_a_residual_net_is_narrowed_whole(rng, reloaded):
    model = resnet.build(resnet.Config(depth=8, width=8), (1, 8, 8), 3, rng).eval()
    if reloaded:
        model = codec.decode(*codec.encode(model))
    small = narrow(model, 0.5, torch.rand(1, 1, 8, 8, generator=rng))
    assert shapes(small) == shapes(resnet.build(resnet.Config(depth=8, width=4), (1, 8, 8), 3, rng))


@pytest.mark.known_answer
def test_a_transformer_is_narrowed_whole(rng):
    config = transformer.Config(vocabulary=9, width=16, heads=4, depth=1, hidden=12)
    ids = torch.randint(1, 9, (1, 5), generator=rng).float()
    small = narrow(transformer.build(config, (5,), 3, rng).eval(), 0.5, ids)
    half = transformer.Config(vocabulary=9, width=8, heads=2, depth=1, hidden=6)
    assert shapes(small) == shapes(transformer.build(half, (5,), 3, rng))
    initialize(small, rng)
    assert small(ids).shape == (1, 3)


def test_what_has_no_width_to_change_is_named(rng):
    model = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(RecipeError, match=r"cannot narrow this Sequential \(0: .*give a recipe as `student`"):
        narrow(model.eval(), 0.5, torch.randn(1, 4, 2, 2, generator=rng))


def test_training_a_student_leaves_the_teacher_in_evaluation_mode(rng, toy):
    inner = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
    model = nn.Sequential(nn.Conv2d(1, 4, 3), inner, nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3))
    model.eval()
    small = narrow(model, 0.5, torch.zeros(1, 1, 8, 8))
    small.train()
    assert not any(part.training for part in model.modules())
    assert {id(part) for part in small.modules()}.isdisjoint({id(part) for part in model.modules()})
    task = toy.task_of(torch.rand(6, 1, 8, 8, generator=rng), torch.arange(6) % 3, classes=3)
    logits.compress(model, logits.Config(epochs=1), task, rng)
    assert not any(part.training for part in model.modules())


def test_parts_of_a_chain_that_stand_twice_are_kept_twice(rng):
    relu, layer = nn.ReLU(), nn.Linear(6, 6)
    x = torch.randn(4, 6, generator=rng)
    model = nn.Sequential(nn.Linear(6, 8), relu, nn.Linear(8, 6), relu, nn.Linear(6, 3)).eval()
    small = narrow(model, 0.5, x[:1])
    assert [type(part) for part in small] == [type(part) for part in model]
    tied = nn.Sequential(nn.Linear(6, 6), relu, layer, relu, layer, relu, nn.Linear(6, 3)).eval()
    small = narrow(tied, 0.5, x[:1])
    assert small[2] is small[4]
    assert small[2].weight.shape == (3, 3)
    assert small(x).shape == (4, 3)


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_a_student_has_the_precision_of_its_teacher(kind, rng):
    parts = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.Linear(6, 3)]
    model, x = nn.Sequential(*parts).to(kind).eval(), torch.randn(3, 1, 4, 4, generator=rng).to(kind)
    small = narrow(model, 0.5, x)
    assert {p.dtype for p in small.parameters()} == {kind}
    assert small.eval()(x).shape == (3, 3)
    assert small[4].weight.shape == (3, 8)


@pytest.mark.known_answer
def test_a_linear_layer_that_reads_places_keeps_what_feeds_it(rng):
    parts = [nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Flatten(2), nn.Linear(16, 6), nn.ReLU(), nn.Flatten(), nn.Linear(48, 8)]
    model = nn.Sequential(*parts, nn.ReLU(), nn.Linear(8, 3)).eval()
    small = narrow(model, 0.5, torch.randn(2, 3, 4, 4, generator=rng))
    assert list(shapes(small).values()) == [(8, 3, 1, 1), (6, 16), (4, 48), (3, 4)]
    left = noted(small)[0]
    assert set(left) == {"0", "3"}
    assert all("fails without them" in reason for reason in left.values())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_a_chain_with_weight_norm_is_not_made_a_plain_one(rng):
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(5, 8)), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    small = narrow(model.eval(), 0.5, torch.randn(3, 5, generator=rng))
    assert small[0].weight_v.shape == (8, 5)
    assert noted(small)[0] == {"0": "0 computes its weight anew at every pass"}
    assert small[2].weight.shape == (3, 8)
