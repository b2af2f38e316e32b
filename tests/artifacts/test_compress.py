import json

import pytest
import torch
from rich.console import Console

from whatelse import recipe
from whatelse.artifacts import compress, costs
from whatelse.errors import ArtifactError, RecipeError, StoreError
from whatelse.nets import cnn
from whatelse.report.costs import print_costs

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save


@pytest.fixture
def images(toy, rng):
    return toy.task_of(torch.rand(60, 1, 8, 8, generator=rng), torch.arange(60) % 3, classes=3, bounds=(0, 1))


@pytest.fixture
def net(rng):
    return cnn.build(cnn.Config(width=4, hidden=16), (1, 8, 8), 3, rng).eval().requires_grad_(requires_grad=False)


STEPS = "prune.magnitude(sparsity=0.9) > train.finetune(epochs=1) > quantize.uniform(bits=4, activation_bits=8)"


def test_a_recipe_makes_the_same_model_for_one_seed(net, images):
    made = [compress.compress(net, f"train.scratch(epochs=1) > {STEPS}", images, seed) for seed in (3, 3, 4)]
    first, again, third = (m.model.state_dict()["head.scale"] for m in made)
    assert torch.equal(first, again)
    assert not torch.equal(first, third)
    assert [d.step for d in made[0].steps][1:] == [str(s) for s in recipe.parse(STEPS)]
    assert set(made[0].remarks.values()) == {"stored packed, computed dequantized"}


def test_what_is_written_is_small_and_says_how_it_was_made(images, tmp_path, rng):
    net = cnn.build(cnn.Config(width=16, hidden=128), (1, 8, 8), 3, rng)
    small = compress.compress(net, STEPS, images)
    compress.write(small, tmp_path / "out", images, STEPS, 0)
    record = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert record["recipe"] == recipe.write(recipe.parse(STEPS))
    assert record["proof"]["fresh process"] == "bit for bit"
    weights = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    rows = sum(len(p) for p in net.parameters() if p.dim() > 1)
    # 90 % sparse at 4 bits: a bit for each weight, 4 for each that is left, a scale and a bias for each row, and names.
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert size < weights * (1 + 0.4) / 8 + 8 * rows + 3000
    assert not list(tmp_path.glob(".*")), "nothing is left aside"


def test_a_folder_that_holds_something_is_never_overwritten(net, images, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        compress.write(compress.compress(net, "", images), tmp_path, images, "", 0)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_copy_that_is_not_equal_is_not_kept(net, images, tmp_path, monkeypatch):
    small = compress.compress(net, "", images)

    def changed(model, folder, record):
        save(compress.compress(model, "prune.magnitude(sparsity=0.5)", images).model, folder, record)

    save = compress.artifact.save
    monkeypatch.setattr(compress.artifact, "save", changed)
    with pytest.raises(ArtifactError, match="reloaded model is another one"):
        compress.write(small, tmp_path / "out", images, "", 0)
    assert list(tmp_path.iterdir()) == []


def test_costs_are_those_of_both_models(net, images):
    small = compress.compress(net, "prune.magnitude(sparsity=0.9)", images)
    found = {c.name: c for c in costs.costs(net, small.model, images)}
    total, weights = (sum(p.numel() for p in net.parameters() if p.dim() > d) for d in (0, 1))
    assert found["parameters, zeros aside"].before == total
    assert found["parameters, zeros aside"].after == total - round(0.9 * weights)
    assert found["bytes on disk"].after < found["bytes on disk"].before / 2
    assert found["multiply-accumulates, 1 example"].before == found["multiply-accumulates, 1 example"].after > 0
    time = found["time of a batch, in turn, ms"]
    assert time.middle[0] <= time.after / time.before <= time.middle[1]
    assert found["parameters, zeros too"].after == total
    assert {"accuracy, select split", "peak memory, 1 batch, bytes", "bytes of its tensors"} <= set(found)


def test_a_cost_that_cannot_be_measured_is_shown_with_its_reason(images, capsys):
    class Waves(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(33, 3)

        def forward(self, x):
            return self.head(torch.fft.rfft(x.flatten(1)).abs())

    model = Waves().eval().requires_grad_(False)
    found = costs.costs(model, model, images)
    (cost,) = [c for c in found if c.why]
    assert cost.name == "multiply-accumulates, 1 example"
    assert (cost.before, cost.after) == (None, None)
    assert not [line for line in costs.warnings_of(found, model, images) if "computes" in line]
    print_costs({"costs": [vars(c) for c in found], "steps": [], "remarks": {}}, Console(width=200))
    assert "1 example: not measurable: needs operations whose arithmetic is known; " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (costs.Cost("bytes on disk", "bytes", 100, 150, warned="is larger on disk"), "larger on disk"),
        (costs.Cost("time", "ms", 1.0, 2.0, (1.8, 2.2), "is slower"), "slower than the original: 2.00 times"),
        (costs.Cost("time", "ms", 1.0, 1.1, (0.9, 1.3), "is slower"), ""),
        (costs.Cost("bytes on disk", "bytes", 100, 50, warned="is larger on disk"), ""),
        (costs.Cost("accuracy", "accuracy", 0.5, 0.9), ""),
    ],
)
def test_a_model_that_got_slower_or_larger_is_called_so(cost, expected, net, images):
    alive = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3, bias=False))
    alive[1].weight.data = torch.eye(3, 64)
    lines = costs.warnings_of([cost], alive, images)
    assert expected in "".join(lines)
    assert bool(lines) == bool(expected)


def test_a_dead_model_is_called_so(images):
    dead = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    torch.nn.init.zeros_(dead[1].weight)
    assert "one and the same answer" in costs.warnings_of([], dead, images)[0]


def test_not_a_number_is_refused_before_and_after(net, images, tmp_path):
    net.head.weight.data[0, 0] = float("nan")
    with pytest.raises(ArtifactError, match="the model returns NaN or infinity for 60 of 60"):
        compress.check_before(net, "", images, ())
    with pytest.raises(ArtifactError, match="the compressed model returns NaN"):
        compress.write(compress.compress(net, "", images), tmp_path / "o", images, "", 0)


def test_a_model_that_could_not_be_written_is_refused_before_any_work(images):
    class Sorts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(64, 3)

        def forward(self, x):
            return self.head(x.flatten(1).sort(1).values)

    with pytest.raises(ArtifactError, match="sort"):
        compress.check_before(Sorts(), "train.finetune()", images, ())
    compress.check_before(Sorts(), "distill.tree()", images, ())  # nothing of it is in the tree
    found = costs.costs(Sorts(), compress.compress(Sorts(), "distill.tree()", images).model, images)
    assert "bytes on disk" not in {c.name for c in found}


def test_a_format_that_fails_leaves_the_rest(net, images, tmp_path, monkeypatch):
    def fails(kind, model, path, inputs):
        path.write_text("half")
        raise ArtifactError("model.onnx: no")

    monkeypatch.setattr(costs.formats, "write", fails)
    small = compress.compress(net, "", images)
    assert compress.write(small, tmp_path / "o", images, "", 0, ("onnx",)) == {"onnx": "model.onnx: no"}
    assert not (tmp_path / "o" / "model.onnx").exists()
    assert (tmp_path / "o" / "model.safetensors").exists()


def test_a_tree_is_drawn_beside_it(net, images, tmp_path):
    small = compress.compress(net, "distill.tree(depth=2)", images)
    compress.write(small, tmp_path / "o", images, "distill.tree(depth=2)", 0)
    lines = (tmp_path / "o" / "drawing.txt").read_text().splitlines()
    assert lines[0].startswith("x")
    assert lines[0].endswith("?")
    assert "else:" in lines
    assert sum("class" in line for line in lines) == small.model.leaves


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("quantize.uniform(bits=4, activation_bits=32)", False),
        ("prune.structured(ratio=0.5)", False),
        ("prune.magnitude(sparsity=0.9)", True),
    ],
)
def test_files_of_others_stand_beside_the_originals_and_say_when_they_hold_floats(steps, said, images, tmp_path, rng):
    if "structured" in steps:
        pytest.importorskip("torch_pruning", reason="needs the extra structured")
    net = cnn.build(cnn.Config(width=16, hidden=128), (1, 8, 8), 3, rng).eval().requires_grad_(False)
    small = compress.compress(net, steps, images)
    compress.write(small, tmp_path / "o", images, steps, 0, ("pt2",))
    (cost,), lines = costs.files(net, small.model, tmp_path / "o", images, ("onnx", "pt2"))
    assert cost.name == "bytes of model.pt2"
    assert cost.after == (tmp_path / "o" / "model.pt2").stat().st_size
    weights = 4 * sum(p.numel() for p in net.parameters())
    assert weights < cost.before < weights + 60_000
    assert (cost.after > 0.9 * cost.before) == said
    assert [line.partition(",")[0] for line in lines if "floats" in line] == [
        "model.pt2 stores weights as floats"
    ] * said


@pytest.mark.parametrize(
    ("file", "floats", "numbers", "said"),
    [
        (
            6_000,
            100,
            1_000,
            "model.pt2 is 0.60 of the original's, its packed weights {}: of 6,000 bytes 1,000 are numbers",
        ),
        (1_500, 100, 1_000, None),  # about what its bits say
        (9_500, 9_000, 9_100, "model.pt2 stores weights as floats, 9,000 bytes"),  # one line a file, of its cause
    ],
)
def test_a_file_that_its_graph_fills_is_said_to_be_so(file, floats, numbers, said, net, images, tmp_path, monkeypatch):
    small = compress.compress(net, "quantize.uniform(bits=4, activation_bits=32)", images)
    (tmp_path / "model.pt2").write_bytes(bytes(file))
    monkeypatch.setattr(costs.formats, "held", lambda kind, path: (floats, numbers))
    monkeypatch.setattr(costs.formats, "size", lambda kind, model, inputs: 10_000)
    (cost,), lines = costs.files(net, small.model, tmp_path, images, ("pt2",))
    assert (cost.before, cost.after) == (10_000, file)
    share = costs._packed(small.model) / costs._packed(net)
    assert 1 / 8 < share < 1 / 4, "four bits of thirty-two, and scales"
    assert len(lines) == bool(said)
    assert all(line.startswith(said.format(f"{share:.2f} of theirs")) for line in lines)


class Answers(torch.nn.Module):
    """A network whose answer is packed, or whose weights are of half precision."""

    def __init__(self, pack, inner):
        super().__init__()
        self.inner, self.pack = inner, pack

    def forward(self, x):
        return self.pack(self.inner(x))


@pytest.mark.parametrize(
    ("pack", "told"), [(lambda z: {"logits": z}, "its answer is of dict"), (lambda z: z[:, 0], "of shape \\(2,\\)")]
)
def test_what_does_not_answer_with_scores_alone_is_refused_in_one_line(pack, told, images, rng):
    model = Answers(pack, cnn.build(cnn.Config(width=4, hidden=8), images.shape, images.classes, rng))
    for refused in (
        lambda: compress.compress(model, "prune.magnitude(sparsity=0.5)", images),
        lambda: compress.check_before(model, "prune.magnitude(sparsity=0.5)", images, ()),
    ):
        with pytest.raises(RecipeError, match=f"^the model cannot be compressed as it is: .*{told}"):
            refused()
    half = cnn.build(cnn.Config(width=4, hidden=8), images.shape, images.classes, rng).half()
    with pytest.raises(RecipeError, match="data's own type"):
        compress.compress(half, "prune.magnitude(sparsity=0.5)", images)
