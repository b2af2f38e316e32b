"""Known results of the papers at small scale: each method against what it is known to do, over several seeds.

    python bench/known.py [SEEDS]

Digits come with scikit-learn; Fashion-MNIST is read from $WHATELSE_DATA (default ../shared/data) and left out with a
reason where it is absent. Differences are paired over seeds, with 95 % t intervals; a seed draws the network, the split
stays. One thread. What is exact (a decomposition at full rank, OBD on a quadratic loss) stands in the tests.
"""

from __future__ import annotations

import gzip
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

import whatelse
from whatelse.modules import calibration, walk
from whatelse.nets import cnn, mlp
from whatelse.tasks.task import Split, Task

DATA = Path(os.environ.get("WHATELSE_DATA", "../shared/data")) / "fashion-mnist"


def main() -> None:
    """Run every known result and print what came out beside what is expected."""
    torch.set_num_threads(1)
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    digits = whatelse.load_task("digits")
    for part in (rounding, tickets, soft_trees, aware):
        part(digits, seeds)
    trees(digits, "digits, 600 train", seeds)
    fashion = fashion_mnist()
    if fashion is None:
        print(f"Fashion-MNIST left out: {DATA} is not there")
        return
    trees(fashion, "Fashion-MNIST, 4,000 train", seeds[:3])
    tensor_layers(fashion, seeds[:3])


def rounding(task: Task, seeds: range) -> None:
    """GPTQ's error of every layer is at most that of rounding to nearest (Frantar et al. 2022)."""
    print("\nGPTQ against rounding to nearest, weights only: layers with a smaller or equal error, median ratio")
    for bits in (2, 3, 4):
        ratios = []
        for seed in seeds:
            net = trained(task, seed, "train.scratch(epochs=10)")
            near = whatelse.compress(net, f"quantize.uniform(bits={bits}, activation_bits=32)", task).model
            best = whatelse.compress(net, f"quantize.gptq(bits={bits})", task).model
            errors = [layer_errors(net, other, best, task) for other in (near, best)]
            ratios += [errors[1][name] / errors[0][name] for name in errors[0]]
        print(f"  {bits} bits: {sum(r <= 1 + 1e-6 for r in ratios)} of {len(ratios)}, {statistics.median(ratios):.2f}")


def layer_errors(net: nn.Module, other: nn.Module, fed: nn.Module, task: Task) -> dict[str, float]:
    """Return tr(D H D^T) of every layer, H of the inputs that the layers of ``fed`` get."""
    layers = walk.layers(net)
    inputs = {name: fed.get_submodule(name) for name in layers}
    grams: dict[str, list[Tensor]] = {name: [] for name in layers}

    def see(name: str, x: Tensor) -> None:
        seen = calibration.columns(layers[name], x)[0].double()
        grams[name].append(seen @ seen.T)

    calibration.watch(fed, inputs, task.calibration.inputs, see)
    found = {}
    for name, layer in layers.items():
        change = (other.get_submodule(name).weight - layer.weight).flatten(1).double()
        found[name] = float(((change @ sum(grams[name])) * change).sum())
    return found


def tickets(task: Task, seeds: range) -> None:
    """A winning ticket beats its mask with new weights, and a random mask (Frankle & Carbin 2019)."""
    print("\nLottery tickets, digits, MLP 64-256-128-10: accuracy of the ticket less that of its controls")
    for sparsity in (0.9, 0.95):
        made = {
            c: scores(task, seeds, f"prune.lottery(sparsity={sparsity}, control='{c}')", wide)
            for c in ("ticket", "reinitialize", "random")
        }
        print(f"  {sparsity:.0%} pruned, ticket {mean(made['ticket'])}")
        for control in ("reinitialize", "random"):
            print(f"    less {control:13} {paired(made['ticket'], made[control])}")


def soft_trees(task: Task, seeds: range) -> None:
    """A soft tree on a network's answers: its gap to the network, and to a hard tree (Frosst & Hinton 2017)."""
    print("\nSoft trees, digits: accuracy")
    teacher = scores(task, seeds, "", wide)
    soft = scores(task, seeds, "distill.soft_tree()", wide)
    for name, made in (("network", teacher), ("soft tree on its answers", soft)):
        print(f"  {name:28} {mean(made)}")
    hard = scores(task, seeds, "distill.tree(depth=8)", wide)
    print(f"  soft tree less network       {paired(soft, teacher)}")
    print(f"  soft tree less CART, depth 8 {paired(soft, hard)}")


def aware(task: Task, seeds: range) -> None:
    """Training with rounding beats rounding after training at few bits (Jacob et al. 2018)."""
    print("\nQuantization-aware training less rounding after as much further training, digits: accuracy")
    for bits in (2, 3):
        with_it = scores(task, seeds, f"quantize.aware(bits={bits}, activation_bits=0)")
        after = scores(task, seeds, f"train.finetune() > quantize.uniform(bits={bits})")
        print(f"  {bits} bits {paired(with_it, after)}")


def trees(task: Task, title: str, seeds: range) -> None:
    """A tree fitted to a network's answers against one grown on the labels, at equal depth (Liu et al. 2018)."""
    print(f"\nTrees, {title}: accuracy of the tree on the network's answers less that of the tree on labels")
    for depth in (3, 4, 5, 6, 8, 10):
        labels = scores(task, seeds, f"distill.tree(depth={depth}, target='labels')", wide)
        line = f"  depth {depth:2}: labels {mean(labels)}"
        for target in ("logits", "probabilities"):
            ours = scores(task, seeds, f"distill.tree(depth={depth}, target={target!r})", wide)
            line += f"; {target} {paired(ours, labels)}"
        print(line)


def tensor_layers(task: Task, seeds: range) -> None:
    """A Tucker tensor layer with 50 times fewer parameters within a point of accuracy (Calvi et al. 2019)."""
    recipe = "decompose.tensor_layer(modes='28x28', ranks='10x10x10')"
    before = scores(task, seeds, "", wide)
    after = scores(task, seeds, f"{recipe} > train.finetune()", wide)
    placebo = scores(task, seeds, "train.finetune()", wide)
    net = trained(task, 0, "", wide)
    small = whatelse.compress(net, recipe, task).model
    layers = [next(m[1:].children()) for m in (net, small)]
    sizes = [sum(p.numel() for name, p in layer.named_parameters() if name != "bias") for layer in layers]
    print(f"\nTensor layer, Fashion-MNIST: {sizes[0] / sizes[1]:.1f} times fewer weights in the layer; accuracy")
    print(f"  less the network {paired(after, before)}; less the network trained as long {paired(after, placebo)}")


_made: dict[tuple[str, int, str, str], nn.Module] = {}


def trained(task: Task, seed: int, recipe: str, net: Callable[[Task, int], nn.Module] | None = None) -> nn.Module:
    """Return the network of a seed after a recipe, trained once and kept."""
    build = net or narrow
    recipe = recipe or "train.scratch()"
    key = (task.name, seed, recipe, build.__name__)
    if key not in _made:
        _made[key] = whatelse.compress(build(task, seed), recipe, task, seed).model
    return _made[key]


def scores(task: Task, seeds: range, recipe: str, net: Callable[[Task, int], nn.Module] | None = None) -> list[float]:
    """Return the test accuracy of a recipe on the trained network of every seed."""
    found = []
    for seed in seeds:
        model = trained(task, seed, "", net)
        made = whatelse.compress(model, recipe, task, seed).model
        found.append(float((made(task.test.inputs).argmax(1) == task.test.targets).double().mean()))
    return found


def narrow(task: Task, seed: int) -> nn.Module:
    """Return the small convolutional network."""
    return cnn.build(cnn.Config(), task.shape, task.classes, torch.Generator().manual_seed(seed))


def wide(task: Task, seed: int) -> nn.Module:
    """Return a multilayer perceptron."""
    hidden = "300" if task.shape[-1] == 28 else "256x128"
    return mlp.build(mlp.Config(hidden=hidden), task.shape, task.classes, torch.Generator().manual_seed(seed))


def fashion_mnist() -> Task | None:
    """Return 4,000 train and 5,000 test images of Fashion-MNIST, or None where the files are absent."""
    if not DATA.is_dir():
        return None

    def read(name: str, skip: int, count: int) -> Tensor:
        raw = gzip.decompress((DATA / name).read_bytes())
        return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=skip).reshape(count, -1).copy())

    splits = {}
    for name, file, count, kept in (("train", "train", 60_000, 4_000), ("test", "t10k", 10_000, 5_000)):
        x = read(f"{file}-images-idx3-ubyte.gz", 16, count)[:kept].view(-1, 1, 28, 28).float() / 255
        y = read(f"{file}-labels-idx1-ubyte.gz", 8, count)[:kept].flatten().long()
        splits[name] = Split(x, y, y)
    few = torch.arange(256)
    splits |= {"calibration": splits["train"].take(few), "select": splits["test"].take(few)}
    return Task("fashion", 10, (0.0, 1.0), splits)


def mean(values: list[float]) -> str:
    """Return the mean and the spread over seeds, in percent."""
    return f"{100 * statistics.mean(values):.1f} +- {100 * statistics.stdev(values):.1f}"


def paired(ours: list[float], theirs: list[float]) -> str:
    """Return the mean difference in points with its 95 % t interval over seeds."""
    d = 100 * (np.array(ours) - np.array(theirs))
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
    return f"{d.mean():+.1f} [{d.mean() - half:+.1f}, {d.mean() + half:+.1f}] points"


if __name__ == "__main__":
    main()
