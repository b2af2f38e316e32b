"""Checks of whether an attack can be believed: what a hidden gradient, or an attack too weak, would give away.

Source:
    Athalye et al., Obfuscated gradients give a false sense of security, ICML 2018, arXiv:1802.00420 (larger budgets,
    attacks without gradients); Zimmermann et al., Increasing confidence in adversarial robustness evaluations, NeurIPS
    2022, arXiv:2206.13991 (planted points); Carlini & Wagner, Towards evaluating the robustness of neural networks,
    IEEE S&P 2017, arXiv:1608.04644 (saturation of the cross-entropy).
"""

from __future__ import annotations

import torch
from scipy import special
from torch import Tensor

from whatelse.attacks import apgd, attack, norms
from whatelse.attacks.pool import Plan, Pool
from whatelse.attacks.remarks import Remarks, doubted, flattered, noted
from whatelse.evidence.cache import Evidence

# Shares: of gradients that are zero, of examples that an attack may miss, that may withstand half the input range,
# that may not fall again in a larger ball, that more steps may fell with a note and with a doubt, that the
# cross-entropy may not see; and the level of every test.
_ZERO, _MISSED, _LEFT, _AGAIN, _HELPS, _HELPS_MUCH, _UNSEEN = 0.05, 0.005, 0.1, 0.05, 0.005, 0.03, 0.05
_LEVEL = 0.01
# Examples asked about; steps at half the input range; planted points, the random ones they must outdo, how deep these
# lie, how far towards the planted point the border is, and the share that may stay unfound.
_FEW, _SHORT, _SOME = 100, 10, 60
# Passes forward of the check whether answers repeat, at most; those of the check of saturation, an example and model.
REPEATS = 2 * _FEW
SATURATION = 6
_PLANTED, _RANDOM, _INNER, _BORDER, _UNFOUND = 40, 8, 0.5, 0.9, 0.05
# Of a model that could only be searched where its baseline was attacked with gradients.
BLIND = flattered("black-box tier: searched without gradients, so that it may only seem to withstand")
# Answers to the same question that differ by more than this share of the largest score are random.
_SAME = 1e-3


def passes(plan: Plan, examples: int) -> int:
    """Return how many examples at most go forward and backward in all checks of one model.

    Args:
        plan: The attacks that are checked.
        examples: How many are attacked.
    """
    few, some, planted = (min(n, examples) for n in (_FEW, _SOME, _PLANTED))
    once = 2 * (plan.steps + 1) + 1
    larger = once + 2 * (_SHORT + 1) + 1
    return few * (2 + 2 * SATURATION + 5 + larger) + some * (2 * once) + planted * (2 + _RANDOM + once)


def examine(evidence: Evidence, pool: Pool, plan: Plan, rng: torch.Generator) -> Remarks:
    """Return where a model's own attacks cannot be believed.

    Args:
        evidence: The model under attack.
        pool: What its own attacks left standing.
        plan: Those attacks.
        rng: Source of starts and planted points.
    """
    remarks = check_repeats(evidence, len(pool.right))
    if "differentiates" not in evidence.subject.offers:
        weak = "black-box tier: no gradients; only a random search, a weaker attack than others may have met"
        return remarks + noted(weak)
    missed = int((pool.gradients & ~pool.stands).sum())
    remarks += check_missed("random search", missed, int(pool.right.sum()))
    remarks += check_gradients(evidence, len(pool.right))
    for check in (_check_no_budget, _check_larger, _check_steps, _check_planted):  # each draws after the one before
        remarks += check(evidence, pool, plan, rng)
    return remarks


def check_missed(name: str, missed: int, right: int) -> Remarks:
    """Return a doubt where points found without gradients fool more than an attack that misses one in 200 would leave.

    Args:
        name: Where the points are from.
        missed: Examples that fell to them, and to no gradient.
        right: Examples that were attacked.
    """
    if not _too_many(missed, right, _MISSED):
        return Remarks()
    return flattered(f"masked gradient: {name} fools {missed} of {right} that the model's own gradients do not")


def check_saturation(baseline: Evidence, candidate: Evidence, radius: float, norm: str, examples: int) -> Remarks:
    """Return a doubt where attacks on the cross-entropy would see much less of a candidate than of its baseline.

    Counted are the examples that fall to one step along the gradient of the log-odds, and withstand a step as long
    along that of the cross-entropy in single precision: confidence so large that it rounds to one hides the way. The
    attacks here are not misled, but a claim of robustness made with others would be. Where the baseline saturates as
    much, it is only noted.

    Args:
        baseline: The model before compression.
        candidate: The model under attack.
        radius: Length of the steps.
        norm: In which they are measured.
        examples: How many are attacked; a hundred of them are asked about.
    """
    if "differentiates" not in candidate.subject.offers:
        return Remarks()
    after, fell = _unseen(candidate, radius, norm, examples)
    if not _too_many(after, fell, _UNSEEN):
        return Remarks()
    sighted = "differentiates" in baseline.subject.offers
    before, of = _unseen(baseline, radius, norm, examples) if sighted else (0, 0)
    told = (
        f"masked for cross-entropy attacks: {after} of {fell} that fall to a step along the log-odds withstand one "
        f"along the cross-entropy; {before} of {of} of the baseline"
    )
    return flattered(told) if after * of > 2 * before * fell else noted(told)


def _unseen(evidence: Evidence, radius: float, norm: str, examples: int) -> tuple[int, int]:
    """Return how many of those that fall to a step along the log-odds do not along the cross-entropy, and how many."""
    test = evidence.split("test")
    inputs, labels = (part[: min(_FEW, examples)] for part in (test.inputs, test.targets))
    fell = []
    for loss in ("plain log-odds", "cross-entropy"):
        way = norms.steepest(attack.slopes(evidence, inputs, labels, loss), norm)
        at = norms.project(inputs + radius * way, inputs, radius, norm, evidence.bounds())
        fell.append(attack.fooled(evidence, at, labels))
    seen = fell[0] & (evidence.predictions("test")[: len(labels)] == labels)
    return int((seen & ~fell[1]).sum()), int(seen.sum())


def check_repeats(evidence: Evidence, examples: int) -> Remarks:
    """Return a doubt where a model answers the same question differently.

    Args:
        evidence: The model under attack.
        examples: How many examples are attacked; a hundred of them are asked twice.
    """
    inputs = evidence.split("test").inputs[: min(_FEW, examples)]
    one, two = evidence.answers(inputs), evidence.answers(inputs)
    changed = int(((one - two).abs().amax(1) > _SAME * one.abs().amax(1)).sum())
    if not changed:
        return Remarks()
    return doubted(f"random outputs: asked again, the model answers {changed} of {len(inputs)} otherwise")


def check_gradients(evidence: Evidence, examples: int) -> Remarks:
    """Return a doubt where too many input gradients of a model are exactly zero.

    Args:
        evidence: The model under attack, which differentiates.
        examples: How many examples are attacked.
    """
    slope = evidence.margin_gradient("test")[:examples]
    share = float((slope == 0).flatten(1).all(1).float().mean())
    told = f"masked gradient: {share:.0%} of input gradients are exactly zero"
    return flattered(told) if share > _ZERO else Remarks()


def _check_no_budget(evidence: Evidence, pool: Pool, plan: Plan, rng: torch.Generator) -> Remarks:
    rows = torch.arange(min(_FEW, len(pool.right)))
    changed = int((_withstand(evidence, rows, attack.Budget(0.0, 1, plan.norm), rng) != pool.right[rows]).sum())
    if not changed:
        return Remarks()
    return doubted(f"without a budget the attack changes {changed} of {len(rows)} predictions")


def _check_larger(evidence: Evidence, pool: Pool, plan: Plan, rng: torch.Generator) -> Remarks:
    """Return doubts of an attack that finds less in a larger ball, or leaves examples in one with other classes."""
    remarks = Remarks()
    rows = (pool.right & ~pool.gradients).nonzero().flatten()[:_FEW]
    left = int(_withstand(evidence, rows, attack.Budget(2 * plan.radius, plan.steps, plan.norm), rng).sum())
    if _too_many(left, len(rows), _AGAIN):
        remarks += flattered(f"not monotone: {left} of {len(rows)} that fell withstand twice the radius")
    low, high = evidence.bounds()
    widest = norms.size(torch.ones(1, *evidence.task.shape), plan.norm).item()
    rows = pool.right[:_FEW].nonzero().flatten()
    left = int(_withstand(evidence, rows, attack.Budget((high - low) / 2 * widest, _SHORT, plan.norm), rng).sum())
    if left > _LEFT * len(rows):
        half = f"{left} of {len(rows)} withstand half the input range"
        remarks += flattered(f"masked gradient or constant output: {half}")
    return remarks


def _check_steps(evidence: Evidence, pool: Pool, plan: Plan, rng: torch.Generator) -> Remarks:
    """Note an attack that twice the steps make stronger than chance would; doubt one that they make much stronger."""
    standing = int(pool.gradients.sum())
    rows = pool.gradients.nonzero().flatten()[:_SOME]
    hits = len(rows) - int(_withstand(evidence, rows, attack.Budget(plan.radius, 2 * plan.steps, plan.norm), rng).sum())
    share = standing / max(1, len(pool.right))
    if not _too_many(hits, len(rows), min(1.0, _HELPS / max(share, _HELPS))):
        return Remarks()
    helped = share * hits / len(rows)
    told = f"attack not converged: twice the steps fell {hits} of {len(rows)} more, {helped:.3f} of accuracy"
    return flattered(told) if helped > _HELPS_MUCH else noted(told)


def _withstand(evidence: Evidence, rows: Tensor, budget: attack.Budget, rng: torch.Generator) -> Tensor:
    """Return whether each of the examples is right at what one attack finds, ``(len(rows),)``."""
    test = evidence.split("test")
    inputs, labels = test.inputs[rows], test.targets[rows]
    found = apgd.climb(evidence, inputs, labels, budget, rng, stop=True, spare=True)
    return ~attack.fooled(evidence, found, labels)


def _check_planted(evidence: Evidence, pool: Pool, plan: Plan, rng: torch.Generator) -> Remarks:
    lost, planted = unfound(evidence, len(pool.right), plan, rng)
    if planted < _PLANTED / 2 or not _too_many(lost, planted, _UNFOUND):
        return Remarks()
    return flattered(f"masked gradient: the attack does not find {lost} of {planted} planted points")


def unfound(evidence: Evidence, examples: int, plan: Plan, rng: torch.Generator) -> tuple[int, int]:
    """Return how many planted points an attack with gradients does not find, and how many there are.

    A random point at the edge of the ball is declared adversarial: a new decision is read from the model's scores along
    the way from the clean answer to the answer there, with its border just before that point and beyond what random
    points of the inner ball reach. Whoever follows the model's gradients must cross that border.

    Args:
        evidence: The model.
        examples: How many there are to plant a point near; a few suffice.
        plan: Gives the ball and the steps.
        rng: Source of the points and starts.
    """
    clean, bounds = evidence.split("test").inputs[: min(_PLANTED, examples)], evidence.bounds()
    axis, border, usable = _planted(evidence, clean, plan, rng)
    clean, axis, border = clean[usable], axis[usable], border[usable]
    if not len(clean):
        return 0, 0

    def ask(at: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        evidence.passes.forward += len(at)
        evidence.passes.backward += len(at)
        over = (axis[which] * _centered(evidence.slopes(evidence.laid(at)))).sum(1) - border[which]
        return over, over.detach() > 0

    begin = norms.start(clean, plan.radius, plan.norm, bounds, rng)
    found = apgd.ascend(ask, clean, begin, plan.gradient_budget(), bounds, stop=True).points
    return int(((axis * _centered(evidence.answers(found))).sum(1) <= border).sum()), len(clean)


def _planted(evidence: Evidence, clean: Tensor, plan: Plan, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return the direction in scores and the border on it, and near which examples there is a border to cross."""
    bounds = evidence.bounds()
    way = norms.steepest(torch.randn(clean.shape, generator=rng), plan.norm).to(clean.dtype)
    edge = norms.project(clean + plan.radius * way, clean, plan.radius, plan.norm, bounds)
    inner = [norms.start(clean, _INNER * plan.radius, plan.norm, bounds, rng) for _ in range(_RANDOM)]
    here, there, *among = (_centered(evidence.answers(x)) for x in (clean, edge, *inner))
    axis = torch.nn.functional.normalize(there - here, dim=1, eps=torch.finfo(here.dtype).tiny)
    far = (axis * there).sum(1)
    least = torch.stack([(axis * z).sum(1) for z in (here, *among)]).amax(0)
    # Of scores that hardly differ the border would lie in their rounding.
    return axis, least + _BORDER * (far - least), far - least > 1e-4 * there.abs().amax(1)


def _centered(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)


def _too_many(count: int, of: int, share: float) -> bool:
    """Return whether so many or more are improbable where each counts with the probability of that share."""
    return count > 0 and share < 1 and bool(special.bdtrc(count - 1, of, share) < _LEVEL)
