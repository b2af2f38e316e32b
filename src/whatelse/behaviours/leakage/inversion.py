"""How well an input is rebuilt from the gradient that it caused: peak signal-to-noise ratio of the reconstruction.

A participant computes the cross-entropy's mean gradient of ``batch`` examples (one step, evaluation mode) with respect
to all weights and biases, at a ``state`` of training: the model as it is, its architecture with weights drawn anew
under the same zeros, or that after a few steps of SGD. ``gradient`` says what of it is shared. Whoever receives it
looks for inputs with that gradient: ``cosine`` by ``iterations`` steps of Adam on ``1 - cosine + smooth * total
variation``, inside the bounds; ``dlg`` by as many of L-BFGS on the squared distance. The attacker knows the model, its
masks and scales (gradients of pruned weights are not shared, those of quantized weights pass straight through the
rounding, and guesses leave the rounding of activations out, which would make stairs of what is descended), how the
gradient was made small (of top-k only shared entries are compared, signs with soft signs of the guess, rounded entries
as they are), and the labels, which `leakage.labels` reads off, unless ``labels`` has them searched for. All models are
attacked on the same images from the same random starts: what differs is due to the model.

Reconstructions of a batch are matched to its images by the assignment of least total error. Value of an image:
``10 log10(range^2 / MSE)`` in dB, at most 60. The parts are two other scores of the same reconstructions: the mean
structural similarity over windows, at most 1, and the re-identification rank, the share of ``pool`` other test images
that lie farther from the reconstruction than the true one, 1 where it is told among all and 0.5 by chance.

The norm of the gradients is noted. The cross-entropy is of class scores divided by how many times louder they are than
the baseline's at the same state: who sends the model chooses their scale, and a factor in front of them protects
nobody.

Reading:
    Higher means that more is given away. The pictures in the report show what a number looks like; read it beside
    the random model's, and beside the norm of the gradients.

Cost:
    For every image ``restarts * iterations`` passes forward and three times as many backward (the gradient, and two
    passes back through it), in double precision; reconstructions are kept with the evidence. Nothing else is shared.

Limits:
    The budget is fixed and small, so a low number says that this attack failed within it, not that none succeeds. A
    model that fits its data has small gradients, and the attack is harder there than at the start of training. Of 8
    images the interval is wide; a batch whose images share a label is harder than one of distinct labels. Batch norms
    stand in evaluation mode, so that images of a batch do not mix there. Secure aggregation, noise and several local
    steps are not modeled. Rounded weights cannot be drawn anew: other states need trainable weights.

Source:
    Geiping et al., Inverting gradients: how easy is it to break privacy in federated learning?, NeurIPS 2020,
    arXiv:2003.14053; Zhu, Liu & Han, Deep leakage from gradients, NeurIPS 2019, arXiv:1906.08935; structural
    similarity: Wang et al., IEEE TIP 2004, doi:10.1109/TIP.2003.819861; matching and re-identification among other
    images after Yin et al., See through gradients, CVPR 2021, arXiv:2104.07586. Departures stand beside the attacks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from whatelse.answer import Answer, Parts, Shown
from whatelse.behaviours.leakage import _gradients, _inversion, _scores, _sent, _states
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.statistics import summaries
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    5,
    "dB",
    "lower",
    {"predicts", "differentiates", "opens", "inputs in bounds"},
    "test example",
    "score",
)
WORST, BLIND = 60.0, None  # of `_scores.CAP`
_PARTS = ("structural similarity", "re-identification rank")
_COLUMNS = ("ratio", *_PARTS)


@dataclass(frozen=True)
class Config:
    """Settings of the inversion."""

    images: int = param(8, "Test examples rebuilt, from the first.", low=1, high=1000)
    iterations: int = param(100, "Steps, of one question each.", low=1, high=100_000)
    rate: float = param(0.1, "First step of Adam, as a share of the range of the inputs.", low=0.0, high=1.0)
    smooth: float = param(1e-3, "Weight of the total variation, for attack=cosine.", low=0.0, high=10.0)
    attack: str = param("cosine", "Inverting gradients, or deep leakage.", choices=_inversion.ATTACKS)
    batch: int = param(1, "Images whose gradients are averaged before they are shared.", low=1, high=1000)
    labels: str = param("known", "Whether labels are known, or searched for.", choices=_inversion.LABELS)
    restarts: int = param(1, "Starts; the nearest to the shared gradient is taken.", low=1, high=100)
    signed: bool = param(False, "Take only the sign of the slope, for attack=cosine.")
    gradient: str = param("whole", "How the gradient is made small before it is shared.", choices=_sent.KINDS)
    keep: float = param(0.1, "Share of the entries of a tensor that gradient=top-k shares.", low=1e-6, high=1.0)
    pool: int = param(200, "Test images among which the rank looks for the true one.", low=2, high=20_000)
    state: str = param("trained", "Moment of the training.", choices=_states.STATES)
    steps: int = param(20, "Steps of SGD, batches of 32, for state=early.", low=1, high=10_000)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ratio in dB, structural similarity and rank of each reconstruction.

    Args:
        evidence: Gives the model and the images.
        config: The attack.
        rng: Not used: the starts come from a fixed seed, so that baseline and candidates share them.

    Raises:
        NotMeasurableError: The model does not open or differentiate, its weights cannot be drawn anew where the state
            asks for it, inputs leave their bounds, or test is smaller than one batch.
    """
    del rng
    found = _inversion.reconstruct(evidence, _budget(config))
    images, rebuilt = found["images"], found["reconstructions"]
    low, high = evidence.bounds()
    pool = evidence.split("test").inputs[: config.pool].double()
    if len(pool) < 2:
        raise NotMeasurableError("needs two test examples, to tell one from the other; test has one")
    pair = images.double(), rebuilt.double()
    blind = float(_scores.unrelated(rebuilt.double(), pool, high - low).mean())
    scores = (_scores.psnr(*pair, high - low), _scores.ssim(*pair, high - low), _scores.rank(*pair, pool))
    ratio, alike, rank = (float(score.mean()) for score in scores)
    told = f"ratio {ratio:.1f} dB, structural similarity {alike:.2f}, rank {rank:.2f}"
    size = f"median gradient norm {float(found['norms'].median()):.1e}"
    named = f"; labels found {found['named'].mean():.2f}" if config.labels == "joint" else ""
    return Answer(
        {name: score.float() for name, score in zip(_COLUMNS, scores, strict=True)},
        rows=torch.arange(len(images)),
        parts=Parts(_PARTS, unit="index"),
        notes=(f"{config.state} model in evaluation mode: {size}; {told}{named}",),
        doubts=_gradients.check_silent(found["norms"]),
        shown=(Shown("rebuilt", {"shown": images.float(), "made": rebuilt.float()}),),
        ends={"blind": blind},
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean ratio of every resample in dB, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each image stands in each resample, ``(draws, M)``.
    """
    del config
    return summaries.mean(answer["ratio"], weights)


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return mean structural similarity and mean rank of every resample, ``(draws, 2)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each image stands in each resample, ``(draws, M)``.
    """
    del config
    return np.stack([summaries.mean(answer[name], weights) for name in _PARTS], 1)


def effort(config: Config, task: Task) -> int:
    """Return an upper bound of the passes that one model costs beyond the shared ones.

    Args:
        config: The attack.
        task: Its test split bounds the images.
    """
    return _inversion.effort(_budget(config), len(task.test))


def _budget(config: Config) -> _inversion.Budget:
    return _inversion.Budget(**{f.name: getattr(config, f.name) for f in fields(_inversion.Budget)})
