import pytest
import torch
from torch import nn

from whatelse import recipe
from whatelse.errors import MissingExtraError, RecipeError
from whatelse.methods.prune import structured, widths
from whatelse.modules import codec
from whatelse.nets import resnet, transformer


def drawn(model, seed=1):
    """Every tensor of the model random, running statistics too, so that no mistake cancels."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.2 if "running" in name else -0.5, 1.0 if "running" in name else 0.6, generator=rng)
    return model.eval().requires_grad_(requires_grad=False)


def two():
    parts = [nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)]
    return drawn(nn.Sequential(*parts))


def table(toy, rng, count=40):
    return toy.task_of(torch.randn(count, 5, generator=rng), torch.arange(count) % 3, classes=3)


@pytest.mark.known_answer
def test_the_units_of_largest_weight_stay_worked_by_hand(toy, rng):
    model, task = two(), table(toy, rng)
    size = (model[0].weight ** 2).sum(1) + (model[2].weight ** 2).sum(0)
    best = sorted(size.topk(2).indices.tolist())
    small = widths.compress(model, widths.Config(keep="0=0.25"), task, rng)
    assert torch.equal(small[0].weight, model[0].weight[best])
    assert torch.equal(small[0].bias, model[0].bias[best])
    assert torch.equal(small[2].weight, model[2].weight[:, best])
    assert torch.equal(small[4].weight, model[4].weight)


@pytest.mark.known_answer
@pytest.mark.parametrize("importance", ["magnitude", "taylor", "fpgm"])
def test_one_share_for_all_groups_is_structured_pruning_with_uniform_scope(importance, toy, rng):
    model, task = two(), table(toy, rng)
    ours = widths.compress(model, widths.Config(keep="0=0.5; 2 = 0.5", importance=importance), task, rng)
    config = structured.Config(ratio=0.5, importance=importance, scope="uniform", round_to=1)
    theirs = structured.compress(model, config, task, rng).state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.known_answer
@pytest.mark.parametrize(("share", "kept"), [(1, 8), (0.5, 4), (0.3, 2), (0.32, 3), (0.01, 1)])
def test_shares_round_to_whole_units_and_at_least_one(share, kept, toy, rng):
    small = widths.compress(two(), widths.Config(keep=f"0={share}"), table(toy, rng), rng)
    assert small[0].out_features == small[2].in_features == kept


def test_coupled_layers_of_a_residual_net_follow_the_one_that_names_them(toy, rng):
    model = drawn(resnet.build(resnet.Config(depth=8, width=8), (2, 8, 8), 3, rng))
    task = toy.task_of(torch.randn(40, 2, 8, 8, generator=rng), torch.arange(40) % 3, classes=3)
    small = widths.compress(model, widths.Config(keep="conv1=0.5; layer2.0.conv1=0.25"), task, rng)
    assert small.layer1[0].conv2.weight.shape == (4, 8, 3, 3)
    assert small.layer2[0].conv1.weight.shape == (4, 4, 3, 3)
    assert small.layer2[0].conv2.weight.shape == (16, 4, 3, 3)
    again = codec.decode(*codec.encode(small))
    assert torch.equal(again(task.train.inputs), small(task.train.inputs))
    with pytest.raises(RecipeError, match=r"units of 'layer1.0.conv2' go together with those of 'conv1'; name that"):
        widths.compress(model, widths.Config(keep="layer1.0.conv2=0.5"), task, rng)


def test_heads_go_whole(toy, rng):
    config = transformer.Config(vocabulary=9, width=16, heads=4, depth=1, hidden=12)
    model = drawn(transformer.build(config, (6,), 3, rng))
    task = toy.task_of(torch.randint(0, 9, (40, 6), generator=rng).float(), torch.arange(40) % 3, classes=3)
    small = widths.compress(model, widths.Config(keep="blocks.0.value=0.5"), task, rng)
    assert small.blocks[0].value.weight.shape == (8, 16)
    assert small.blocks[0].linear1.weight.shape == (12, 16)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("", "keep is empty; give 'layer=share"),
        (" ; ", "keep is empty"),
        ("0", "'0' is not of the form 'layer=share' with a share in"),
        ("=0.5", "'=0.5' is not of the form"),
        ("0=0", "'0=0' is not of the form"),
        ("0=1.5", "'0=1.5' is not of the form"),
        ("0=nan", "'0=nan' is not of the form"),
        ("0=half", "'0=half' is not of the form"),
        ("0=0.5; 0=0.25", "'0' stands twice"),
        ("7=0.5", "no group '7'; .*0"),
        ("1=0.5", "no group '1'"),
        ("4=0.5", "'4' keeps its units: its channels are the outputs of the model, as nobody asked for fewer classes"),
    ],
)
def test_what_cannot_be_done_is_one_line(keep, said, toy, rng):
    with pytest.raises(RecipeError, match=f"^prune.widths: .*{said}") as caught:
        widths.compress(two(), widths.Config(keep=keep), table(toy, rng), rng)
    assert "\n" not in str(caught.value)


def test_a_recipe_says_it_and_the_mask_of_a_sparse_model_stays(toy, rng):
    model, task = two(), table(toy, rng)
    with torch.no_grad():
        model[0].weight[model[0].weight.abs() < 0.2] = 0
    (step,) = recipe.parse("prune.widths(keep='0=0.5')")
    small = recipe.apply(step, model, task, rng)
    assert bool((small[0].weight == 0).any())
    assert recipe.parse(recipe.write((step,))) == (step,)


def test_the_missing_extra_is_named(toy, rng, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_pruning", None)
    with pytest.raises(MissingExtraError, match=r"prune.widths needs Torch-Pruning: pip install 'whatelse\[structured"):
        widths.compress(two(), widths.Config(keep="0=0.5"), table(toy, rng), rng)
