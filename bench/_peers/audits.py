"""The same measurements by other tools, each with its own passes, and the models and examples to measure."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from whatelse import registry
from whatelse.models.activations import watched
from whatelse.models.subject import log_odds
from whatelse.nets import mlp, resnet
from whatelse.tasks.task import Split, Task
from whatelse.training import loop

BATCH = 128
DATA = Path(os.environ.get("WHATELSE_DATA", "../shared/data"))
Numbers = dict[str, list[float]]


@dataclass(frozen=True)
class Case:
    """Baseline and candidate, and what they are asked."""

    name: str
    task: Task
    models: tuple[nn.Module, nn.Module]


def images() -> Case:
    """Return a ResNet-20 and a pruned copy of it, on 1,000 images with groups and masks."""
    rng = torch.Generator().manual_seed(0)
    weights = DATA / "resnet20-cifar10" / "resnet20-12fca82f.th"
    pixels = DATA / "cifar10" / "cifar10_test.npz"
    kind = "A" if weights.exists() else "B"
    model = resnet.build(resnet.Config(kind=kind), (3, 32, 32), 10, rng)
    name = "ResNet-20, untrained, on random images"
    inputs, targets = torch.rand(1000, 3, 32, 32, generator=rng), torch.randint(10, (1000,), generator=rng)
    if weights.exists() and pixels.exists():
        state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
        model.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
        stored = np.load(pixels)  # sorted by class: some of each are drawn, so that no group lacks a class
        rows = torch.randperm(len(stored["y"]), generator=rng)[:1000].numpy()
        mean, spread = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        inputs = (torch.from_numpy(stored["x"][rows]).float() / 255 - mean) / spread
        targets = torch.from_numpy(stored["y"][rows]).long()
        name = "ResNet-20, published weights, on CIFAR-10"
    masks = torch.zeros(inputs.shape, dtype=torch.bool)
    masks[:, :, 8:24, 8:24] = True
    groups = {"code": torch.randint(4, (1000,), generator=rng)}
    return _case(name, model, Split(inputs, targets, targets, groups, masks), 10, rng)


def table() -> Case:
    """Return a small MLP and a pruned copy of it, on 4,000 rows of 40 features with two groups."""
    rng = torch.Generator().manual_seed(0)
    inputs, teacher = torch.randn(4000, 40, generator=rng), torch.randn(40, 2, generator=rng)
    targets = (inputs @ teacher + 3 * torch.randn(4000, 2, generator=rng)).argmax(1)
    model = mlp.build(mlp.Config(), (40,), 2, rng)
    labels = loop.hard_labels(targets)
    loop.fit(model, inputs, labels, loop.Schedule(3, 0.003, 128), rng)
    split = Split(inputs, targets, targets, {"code": torch.randint(2, (4000,), generator=rng)})
    return _case("MLP on a table", model, split, 2, rng)


CASES: dict[str, Callable[[], Case]] = {"images": images, "table": table}


def _case(name: str, model: nn.Module, split: Split, classes: int, rng: torch.Generator) -> Case:
    some = split.take(torch.randperm(len(split), generator=rng)[:256])
    task = Task(name, classes, None, {"train": split, "calibration": some, "select": some, "test": split})
    prune = registry.load("methods", "prune.magnitude")
    small = prune.compress(model, prune.Config(sparsity=0.5), task, rng)
    return Case(name, task, (model.eval(), small.eval()))


def _batches(split: Split) -> list[tuple[Tensor, Tensor]]:
    rows = [slice(start, start + BATCH) for start in range(0, len(split), BATCH)]
    return [(split.inputs[some], split.targets[some]) for some in rows]


def torchmetrics(case: Case, asked: set[str]) -> Numbers:
    """Return accuracy and calibration error, as in the quick start of torchmetrics: update batch by batch."""
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

    del asked
    rows = []
    for model in case.models:
        metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(case.task.classes, average="micro"),
                "ece": MulticlassCalibrationError(case.task.classes, n_bins=15, norm="l1"),
            }
        )
        with torch.no_grad():
            for inputs, targets in _batches(case.task.test):
                metrics.update(model(inputs).softmax(1), targets)
        rows.append({name: float(value) for name, value in metrics.compute().items()})
    return {name: [row[name] for row in rows] for name in rows[0]}


def scikit_learn(case: Case, asked: set[str]) -> Numbers:
    """Return log loss, Brier score and flips, from an array of probabilities for each model."""
    from sklearn.metrics import brier_score_loss, log_loss

    truth = case.task.test.targets.numpy()
    classes = np.arange(case.task.classes)
    found: Numbers = {"likelihood": [], "brier": []}
    said = []
    for model in case.models:
        with torch.no_grad():
            given = torch.cat([model(x).double().softmax(1) for x, _ in _batches(case.task.test)]).numpy()
        found["likelihood"].append(log_loss(truth, given, labels=classes))
        if "brier" in asked:
            score = brier_score_loss(truth, given if len(classes) > 2 else given[:, 1], labels=classes)
            # Of two classes scikit-learn counts one.
            found["brier"].append(score if len(classes) > 2 else 2 * score)
        said.append(given.argmax(1))
    found["flips"] = [float((said[0] != said[1]).mean())]
    return {name: numbers for name, numbers in found.items() if numbers}


def fairlearn(case: Case, asked: set[str]) -> Numbers:
    """Return accuracy of the worst group, its gap and the gaps of rates, as in fairlearn's quick start."""
    from fairlearn.metrics import MetricFrame, demographic_parity_difference, equalized_odds_difference
    from sklearn.metrics import accuracy_score, recall_score

    del asked
    truth = case.task.test.targets.numpy()
    group = next(iter(case.task.test.groups.values())).numpy()
    recalls = {
        str(c): partial(recall_score, labels=[c], average="micro", zero_division=np.nan)
        for c in range(case.task.classes)
    }
    found: Numbers = {"worst group": [], "gap": [], "odds": [], "equalized odds": [], "parity": []}
    gap_of = {"equalized odds": equalized_odds_difference, "parity": demographic_parity_difference}
    for model in case.models:
        with torch.no_grad():
            said = torch.cat([model(x).argmax(1) for x, _ in _batches(case.task.test)]).numpy()
        frame = MetricFrame(
            metrics={"accuracy": accuracy_score, **recalls}, y_true=truth, y_pred=said, sensitive_features=group
        )
        gaps = frame.difference(method="between_groups")
        found["worst group"].append(float(frame.group_min()["accuracy"]))
        found["gap"].append(float(gaps["accuracy"]))
        found["odds"].append(float(np.nanmean([gaps[c] for c in recalls])))
        one = [1] if case.task.classes == 2 else range(case.task.classes)
        for name, gap in gap_of.items():
            # A group without examples of a class has the rate 0 here and none by whatelse: no case has such a group.
            each = [gap(truth == c, said == c, sensitive_features=group) for c in one]
            found[name].append(float(np.mean(each)))
    return found


class Margins(nn.Module):
    """A model whose outputs are log-odds of every class, which is what captum is asked to explain."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return log-odds, ``(N, classes)``."""
        scores = self.model(x)
        every = torch.arange(scores.shape[1]).expand(len(scores), -1)
        return torch.stack([log_odds(scores, labels) for labels in every.T], 1)


def captum(case: Case, asked: set[str]) -> Numbers:
    """Return agreement of the maps of both models and the share inside the masks, as captum's tutorials do."""
    import captum.attr

    inputs, masks = case.task.test.inputs, case.task.test.masks
    with torch.no_grad():
        explained = torch.cat([case.models[0](x).argmax(1) for x, _ in _batches(case.task.test)])
    maps: dict[str, list[Tensor]] = {}
    for kind in (captum.attr.InputXGradient, captum.attr.Saliency):
        for model in case.models:
            explain = kind(Margins(model))
            found = []
            for rows in range(0, len(inputs), BATCH):
                x = inputs[rows : rows + BATCH].clone().requires_grad_()
                found.append(explain.attribute(x, target=explained[rows : rows + BATCH]).detach())
            maps.setdefault(kind.__name__, []).append(torch.cat(found).flatten(1))
    mine, theirs = (m.double().numpy() for m in maps["InputXGradient"])
    numbers = {"agreement": [_ranked(mine, theirs)], "cosine": [_cosine(mine, theirs)]}
    numbers["saliency"] = [_ranked(*(m.double().numpy() for m in maps["Saliency"]))]
    if "energy" in asked and masks is not None:
        inside = masks.flatten(1)
        numbers["energy"] = [float(((m * inside).sum(1) / m.sum(1)).mean()) for m in maps["Saliency"]]
    return numbers


def _ranked(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.stats import rankdata

    # scipy's spearmanr takes one pair at a time, in a loop; ranks of all rows at once are far faster.
    a, b = (rankdata(abs(maps), axis=1) for maps in (x, y))
    return _cosine(a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True))


def _cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(((x * y).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))).mean())


def cka(case: Case, asked: set[str]) -> Numbers:
    """Return the debiased CKA of the last hidden layer, from Gram matrices, as Kornblith et al. (2019) publish it.

    The other layers are computed too, as the curve over depth needs them.
    """
    del asked
    both = [_activations(model, case) for model in case.models]
    curve = [_similarity(_centered(x), _centered(y)) for x, y in zip(*both, strict=True)]
    return {"cka": [curve[-1]]}


def units(case: Case, asked: set[str]) -> Numbers:
    """Return the share of dead units and the mean class selectivity of the last hidden layer, one pass a model.

    By forward hooks, as PyTorch's documentation shows, and the index as Morcos et al. (2018) publish it.
    """
    del asked
    targets = case.task.test.targets.numpy()
    numbers: Numbers = {"dead": [], "selectivity": []}
    for model in case.models:
        fired = np.maximum(_activations(model, case)[-1], 0)
        means = np.stack([fired[targets == c].mean(0) for c in np.unique(targets)])
        top = means.max(0)
        rest = (means.sum(0) - top) / (len(means) - 1)
        alive = means.sum(0) > 0
        numbers["dead"].append(float((~(fired > 0).any(0)).mean()))
        numbers["selectivity"].append(float(((top - rest) / (top + rest))[alive].mean()))
    return numbers


def _activations(model: nn.Module, case: Case) -> list[np.ndarray]:
    seen: dict[str, list[Tensor]] = {}
    hooks = [part.register_forward_hook(partial(_keep, seen, name)) for name, part in watched(model)]
    with torch.no_grad():
        for inputs, _ in _batches(case.task.test):
            model(inputs)
    for hook in hooks:
        hook.remove()
    return [torch.cat(parts).double().numpy() for parts in seen.values()]


def _keep(seen: dict[str, list[Tensor]], name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
    del module, inputs
    seen.setdefault(name, []).append(output.flatten(2).mean(2) if output.dim() > 2 else output)


def _centered(x: np.ndarray) -> np.ndarray:
    gram: np.ndarray = x @ x.T
    n = len(gram)
    np.fill_diagonal(gram, 0)
    means = gram.sum(0) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    gram -= means[:, None]
    gram -= means[None, :]
    np.fill_diagonal(gram, 0)
    return gram


def _similarity(k: np.ndarray, m: np.ndarray) -> float:
    return float(k.ravel() @ m.ravel() / math.sqrt((k.ravel() @ k.ravel()) * (m.ravel() @ m.ravel())))


TOOLS: dict[str, Callable[[Case, set[str]], Numbers]] = {
    "torchmetrics": torchmetrics,
    "scikit-learn": scikit_learn,
    "fairlearn": fairlearn,
    "captum": captum,
    "CKA from Gram matrices": cka,
    "units by hooks": units,
}
