"""Zero the weights whose loss would grow least by a second-order estimate, ``h * w**2 / 2``.

At a minimum of the loss over train, deleting weight ``w`` costs about ``h * w**2 / 2`` with ``h`` its diagonal entry
of the Hessian (gradient zero, no cross terms). Of the cross-entropy, ``curvature`` sets ``h`` to the diagonal of

``gauss-newton``: the generalized Gauss-Newton matrix, mean of ``J^T (diag(p) - p p^T) J`` over train with ``J`` the
Jacobian of the logits and ``p`` the model's softmax. As ``diag(p) - p p^T = sum_c p_c (e_c - p)(e_c - p)^T``, its
diagonal is exactly ``sum_c p_c (d log p_c / dw)**2``: ``classes`` gradients an example, by ``torch.func``.
``fisher``: ``(d log p_y / dw)**2`` with one label ``y`` an example drawn from ``p``: an unbiased estimate of the
same, ``classes`` times cheaper, and noisy where the model is sure, as nearly all draws are then of one class.
Recorded labels are never used for it: that empirical Fisher vanishes where train is fitted.

We depart from the paper in three points. Its backward recursion for ``h`` drops the cross terms between units as
well; ours keeps them, and holds for any module that ``torch.func.vmap`` can run. Each of ``rounds`` deletes the same
share of what is left, the paper's steps being chosen by eye. After a round the model is retrained for ``epochs``;
by default there is one round and no retraining.

Biases stay, and so do tied weights and the projections of ``nn.MultiheadAttention``. Weights that are zero already
count toward the sparsity.

Source:
    LeCun, Denker, Solla, Optimal brain damage, NeurIPS 1989; Kunstner, Balles, Hennig, Limitations of the empirical
    Fisher approximation for natural gradient descent, NeurIPS 2019, arXiv:1905.12558.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from whatelse.errors import RecipeError
from whatelse.methods.prune._mask import geometric, keep, prunable, zero
from whatelse.modules.calibration import batches
from whatelse.modules.walk import Layer, copied
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, fit, hard_labels

VERSION, KNOB, TAKES, LEAVES = 1, "sparsity", {"dense", "sparse"}, "sparse"

# Numbers that the gradients of one chunk of examples may take: 64 MiB.
_ROOM = 2**24


@dataclass(frozen=True)
class Config:
    """Settings of optimal brain damage."""

    sparsity: float = param(0.5, "Share of weights to zero.", low=0.0, high=1.0)
    scope: str = param("global", "Rank all layers together, or each by itself.", choices=("global", "layer"))
    curvature: str = param("gauss-newton", "How h is taken.", choices=("gauss-newton", "fisher"))
    rounds: int = param(1, "Rounds of deleting and retraining.", low=1, high=1000)
    epochs: int = param(0, "Passes over train after each round; 0 does not retrain.", low=0, high=10_000)
    rate: float = param(8e-3, "Peak learning rate of the one-cycle schedule of each round.", low=0.0, high=1.0)
    batch: int = param(50, "Examples a step of retraining.", low=1)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a pruned copy.

    Args:
        model: Any module with convolutions or linear layers, trained to convergence.
        config: How much to prune, and how.
        task: Its train split: inputs for the curvature, labels as they were recorded for retraining.
        rng: Source of the drawn labels and of the order of the examples.

    Raises:
        RecipeError: There is nothing to prune, or the model cannot be differentiated example by example.
    """
    pruned = copied(model)
    found = prunable(pruned, "prune.obd")
    schedule = Schedule(config.epochs, config.rate, config.batch)
    for sparsity in geometric(config.sparsity, config.rounds):
        curvature = _curvature(pruned, found, task.train.inputs, config.curvature, rng)
        scores = {name: h * found[name].weight.detach().square() / 2 for name, h in curvature.items()}
        zero(found, keep(found, scores, sparsity, config.scope))
        fit(pruned, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    return pruned


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    Args:
        config: How many rounds, how long each trains, and how the curvature is taken.
        task: Gives the number of train examples.
    """
    curvature = 1 + 3 * (task.classes if config.curvature == "gauss-newton" else 1)
    return config.rounds * (curvature + 3 * config.epochs) * len(task.train)


def _curvature(
    model: nn.Module, found: Mapping[str, Layer], inputs: Tensor, kind: str, rng: torch.Generator
) -> dict[str, Tensor]:
    """Return the diagonal of the curvature in the weights' shapes, by name of the layer."""
    weights = {f"{name}.weight".lstrip("."): layer.weight.detach() for name, layer in found.items()}
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    # A weight that requires a gradient keeps attention off its fast path, which vmap cannot run.
    model = copied(model).requires_grad_()
    chunk = max(1, _ROOM // sum(weight.numel() for weight in weights.values()))
    for part in batches(model, inputs, chunk):
        with torch.no_grad():
            likely = model(part).softmax(1)
        if kind == "fisher":
            drawn = [(likely.multinomial(1, generator=rng).flatten(), torch.ones(len(part)))]
        else:
            drawn = [(torch.full((len(part),), c), likely[:, c]) for c in range(likely.shape[1])]
        for labels, chances in drawn:
            for name, slope in _slopes(model, weights, part, labels).items():
                total[name] += torch.einsum("n,n...->...", chances, slope.square())
    return {name: total[f"{name}.weight".lstrip(".")] / len(inputs) for name in found}


def _slopes(model: nn.Module, weights: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the gradient of ``log p_label`` for every example by itself, ``(N, ...)`` for each weight.

    Raises:
        RecipeError: vmap cannot run the model.
    """

    def said(tensors: dict[str, Tensor], x: Tensor, label: Tensor) -> Tensor:
        # Flat, as some models drop the dimension of a single example.
        likely: Tensor = functional_call(model, tensors, (x[None],)).flatten().log_softmax(0)
        return likely.gather(0, label[None])[0]

    try:
        # No gradient of the gradients, and of attention the one form that vmap takes apart.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            slopes: dict[str, Tensor] = vmap(grad(said), (None, 0, 0), randomness="same")(weights, inputs, labels)
    except Exception as error:  # whatever a model's own forward raises where it meets what vmap hands it
        reason = " ".join(str(error).split())[:120]
        raise RecipeError(f"prune.obd: torch.func.vmap cannot run this model: {reason}; use prune.magnitude") from error
    return slopes
