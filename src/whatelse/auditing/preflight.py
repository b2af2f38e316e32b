"""Whether two models can be compared at all: the checklist that is gone through before any pair is measured.

A model that was handed over with its classes in another order, or that expects inputs scaled otherwise, answers almost
anything; every behaviour would then measure the mistake. What can only be a mistake is refused, with both sides
printed; what may be meant is stated in the report. Only the split *select* is looked at, never test; but of recorded
scores the first split of select, train and test that there are scores of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from scipy.special import bdtrc
from torch import Tensor
from torch.nn import functional

from whatelse.auditing import language_check
from whatelse.errors import TaskError
from whatelse.findings.checks import Agreed, Check
from whatelse.models.model import Model, Recorded, Scores
from whatelse.models.subject import Subject
from whatelse.tasks.task import Task

# Examples that are looked at, and what recall must rise by, and to, under another reading for it to be what is meant.
_NO_MODE, _EVALUATION, _NO_WEIGHTS = "has no mode", "was in evaluation mode", "in no parameters"
_MOST, _FAR, _MANY = 512, 0.2, 0.5
# Below that, what a reading must gain to be told, and how rarely chance may do so: a likely cause, no proof.
_GAIN, _CHANCE = 0.05, 1e-3
# Standardization that most image models of others were trained with, by channel, of pixels in [0, 1].
_MEANS, _SPREADS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Relative differences of outputs that are rounding.
_ROUNDING = 1e-5


class _Reading(NamedTuple):
    """Another reading under which a model is right more often; empty where there is none.

    ``must`` tells whether it is the one that is meant: it is right on far more of all examples. Where only rare classes
    gain by it, or the model errs less and no more, a compression may have done that too; it is told as a likely cause
    and measured, not refused.
    """

    text: str = ""
    must: bool = False


def compare(
    baseline: Model, candidate: Model, task: Task, *, training: Mapping[str, bool], force: bool = False
) -> list[Check]:
    """Return the checklist of a pair.

    Args:
        baseline: The model before.
        candidate: The model after.
        task: Gives the examples.
        training: Whether each model, by name, was handed over in training mode.
        force: True states what would be refused.

    Raises:
        TaskError: Classes are in another order, or inputs are prepared otherwise, for one of them; or one cannot read
            what language models are asked.
    """
    if task.language is not None:
        return language_check.compare(baseline, candidate, task, force=force)
    split = _looked_at(baseline, candidate)
    inputs, targets = task.split(split).inputs[:_MOST], task.split(split).targets[:_MOST]
    said = {one.name: _said(one, split, inputs) for one in (baseline, candidate)}
    checks = [
        *_refusable(baseline, candidate, said, inputs, targets, task),
        *_stated(baseline, candidate, said, inputs, training),
        Check("data", f"task {task.name}, hash {task.key}", "the same examples in the same order", "same"),
    ]
    refused = [c for c in checks if c.outcome == "refused"]
    if refused and not force:
        one = refused[0]
        raise TaskError(
            f"{candidate.name} cannot be compared with {baseline.name}: {one.name}: {baseline.name} {one.baseline}; "
            f"{candidate.name} {one.candidate}; mend it, or measure all the same with force (--force)"
        )
    return [replace(c, outcome="stated") if c.outcome == "refused" else c for c in checks]


def _looked_at(baseline: Model, candidate: Model) -> str:
    """Return the split that is looked at: select, unless there are no recorded scores of it."""
    known = [one.source.splits for one in (baseline, candidate) if isinstance(one.source, Recorded)]
    return next((split for split in ("select", "train") if all(split in splits for splits in known)), "test")


def _said(one: Model, split: str, inputs: Tensor) -> Tensor:
    """Return what a model answers to the first examples of a split, or what was recorded of them."""
    if isinstance(one.source, Recorded) and not isinstance(one.source, Scores):
        return one.source.recorded(split)[: len(inputs)]
    return _answers(one, inputs)


def _refusable(
    baseline: Model, candidate: Model, said: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, task: Task
) -> Iterator[Check]:
    told = {name: _order(logits.argmax(1), targets, task.classes) for name, logits in said.items()}
    plain = dict.fromkeys(said, "classes as in the data")
    yield _judged("class order", baseline, candidate, told, plain)
    # Whole numbers are codes that are looked up, not amounts that could have been scaled.
    codes = task.modality in {"tokens", "words"} or not inputs.is_floating_point()
    ways = {} if codes else _preparations(task)
    pair = ((baseline, candidate), (candidate, baseline))
    read = {a.name: _preparation(a, inputs, targets, (said[a.name], said[b.name]), ways) for a, b in pair}
    asked = {one.name: isinstance(one.source, Scores) for one in (baseline, candidate)}
    plain = {name: "takes the inputs as they are" if live else "was recorded" for name, live in asked.items()}
    yield _judged("preprocessing", baseline, candidate, read, plain)


def _judged(
    name: str, baseline: Model, candidate: Model, told: Mapping[str, _Reading], plain: Mapping[str, str]
) -> Check:
    before, after = told[baseline.name], told[candidate.name]
    outcome: Agreed = "refused" if before.must or after.must else "stated" if before.text or after.text else "same"
    return Check(name, before.text or plain[baseline.name], after.text or plain[candidate.name], outcome)


def _order(predicted: Tensor, targets: Tensor, classes: int) -> _Reading:
    """Return how classes would have to be renamed for a model to be right far more often.

    The renaming is found on one half of the examples and tried on the other: among many classes some renaming suits
    any guesses.
    """
    if len(set(targets.tolist())) == 1:  # any class that is named often would be taken for it
        return _Reading()
    half, rest = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0)).tensor_split(2)
    columns, moved = _renaming(predicted[half], targets[half], classes)
    meant = columns[predicted]
    other, _ = _renaming(predicted[rest], targets[rest], classes)
    tried = torch.zeros_like(predicted)  # each half renamed as the other says
    tried[half], tried[rest] = other[predicted[half]], meant[rest]
    if not _better(tried, predicted, targets) and not _far_better(meant[rest], predicted[rest], targets[rest]):
        return _Reading()
    plain, renamed = (float((said == targets).float().mean()) for said in (predicted, meant))
    text = f"is right on {plain:.0%} of {len(targets)} examples, and on {renamed:.0%} if {', '.join(moved[:4])}"
    return _Reading(text, must=renamed > plain + _FAR and _far_better(meant[rest], predicted[rest], targets[rest]))


def _renaming(predicted: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, list[str]]:
    """Return what every class would mean for a model to be right most often, and what of it is another one."""
    from scipy.optimize import linear_sum_assignment  # takes long to import: not for a listing

    table = torch.zeros(classes, classes)
    table.index_put_((predicted, targets), torch.ones(len(targets)), accumulate=True)
    rows, columns = linear_sum_assignment((table / table.sum(0).clamp(min=1)).numpy(), maximize=True)
    moved = [f"{a} means {b}" for a, b in zip(rows, columns, strict=True) if a != b and table[a, b]]
    return torch.as_tensor(columns), moved


def _preparations(task: Task) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the ways in which inputs are commonly prepared otherwise."""
    known = task.train if len(task.train) else task.split("select")
    train = known.inputs[: 4 * _MOST].float()
    mean, spread = train.mean(), train.std().clamp(min=1e-6)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "multiplied by 255": lambda x: x * 255,
        "divided by 255": lambda x: x / 255,
        "stretched to [-1, 1]": lambda x: 2 * x - 1,
        "standardized": lambda x: (x - mean) / spread,
        "standardized back": lambda x: x * spread + mean,
        "inverted": lambda x: 1 - x,
    }
    shape = task.shape
    if task.modality == "images" and shape[1] == shape[2]:
        ways["transposed"] = lambda x: x.transpose(-1, -2)
    if task.modality == "images" and shape[0] == 3:  # noqa: PLR2004 - red, green and blue
        ways["with channels reversed"] = lambda x: x.flip(1)
        means, spreads = (torch.tensor(part)[:, None, None] for part in (_MEANS, _SPREADS))
        ways["standardized as for ImageNet"] = lambda x: (x - means) / spreads
        ways["with standardization for ImageNet taken back"] = lambda x: x * spreads + means
    return ways


def _preparation(
    one: Model,
    inputs: Tensor,
    targets: Tensor,
    logits: tuple[Tensor, Tensor],
    ways: Mapping[str, Callable[[Tensor], Tensor]],
) -> _Reading:
    """Return under which preparation a model is right more often than on the inputs as they are.

    Args:
        one: The model.
        inputs: As the data have them.
        targets: Their labels.
        logits: What it answers to them, and what the other one of the pair does.
        ways: Other preparations, by name.
    """
    if len(set(targets.tolist())) == 1:  # any preparation under which the one class is named would be taken for it
        return _Reading()
    plain = logits[0].argmax(1)
    if _recall(plain, targets) + _GAIN >= 1:  # no other preparation could be better by what must be gained
        return _Reading()
    scores = {name: told for name, way in ways.items() if (told := _prepared(one, way(inputs))) is not None}
    said = {name: told.argmax(1) for name, told in scores.items()}
    best = _likeliest(scores, targets, logits[1])
    if not best or not _better(said[best], plain, targets):
        return _Reading()
    right, other = (float((named == targets).float().mean()) for named in (plain, said[best]))
    text = f"is right on {right:.0%} of {len(targets)} examples as they are, and on {other:.0%} of them {best}"
    return _Reading(text, must=other > right + _FAR and _far_better(said[best], plain, targets))


def _likeliest(scores: Mapping[str, Tensor], targets: Tensor, beside: Tensor) -> str:
    """Return the preparation that a model was most likely made for; empty where there is none.

    Many a network names the same classes of inputs on another scale, and is only far too sure of them: of those that
    are right about as often, it is the one whose scores are nearest to those of the other model, where that one is as
    good; else the one whose scores make the labels likeliest.
    """
    right = {name: _recall(told.argmax(1), targets) for name, told in scores.items()}
    near = [name for name in right if right[name] >= max(right.values()) - _GAIN]
    good = bool(near) and _recall(beside.argmax(1), targets) >= max(right.values()) - _GAIN
    wanted = beside.softmax(1).nan_to_num(0) if good else functional.one_hot(targets, beside.shape[1]).float()
    lost = {name: float(functional.cross_entropy(scores[name], wanted).nan_to_num(torch.inf)) for name in near}
    return min(near, key=lambda name: (lost[name], -right[name]), default="")


def _prepared(one: Model, inputs: Tensor) -> Tensor | None:
    """Return the answers to inputs that were prepared otherwise; None where the model does not take such."""
    try:
        return _answers(one, inputs.contiguous())
    except Exception:  # a code that is looked up and not there, or whatever else a stranger's forward raises
        return None


def _stated(
    baseline: Model, candidate: Model, said: Mapping[str, Tensor], inputs: Tensor, training: Mapping[str, bool]
) -> Iterator[Check]:
    looks: dict[str, Callable[[Model], str]] = {
        "dtype": lambda one: _dtypes(one, said[one.name]),
        "evaluation mode": lambda one: _mode(one, training=training.get(one.name, False)),
        "repeated answers": lambda one: _repeats(one, inputs, said[one.name]),
        "batch": _by_batch,
        "output": lambda one: _varies(said[one.name]),
    }
    for name, look in looks.items():
        before, after = look(baseline), look(candidate)
        yield Check(name, before, after, "same" if _alike(before, after) else "stated")


def _alike(before: str, after: str) -> bool:
    """Return whether two models were found alike, or one shows nothing that could be held against the other."""
    if _NO_MODE in {before, after}:
        return {before, after} <= {_NO_MODE, _EVALUATION}
    if any(_NO_WEIGHTS in one for one in (before, after)):
        return before.rpartition(", ")[2] == after.rpartition(", ")[2]  # the scores
    return before == after


def _mode(one: Model, *, training: bool) -> str:
    if not isinstance(one, Subject):
        return _NO_MODE
    return "was handed over in training mode, and is measured in evaluation mode" if training else _EVALUATION


def _by_batch(one: Model) -> str:
    if not isinstance(one.source, Scores):
        return "was recorded"
    if one.batch:
        return f"asked in batches of {one.batch}"
    if one.alone:
        return "answers by the batch: asked one at a time"
    return "rounds by the batch: asked in large ones" if one.mixes else "answers alike in any batch"


def _dtypes(one: Model, logits: Tensor) -> str:
    parameters = one.model.parameters() if isinstance(one, Subject) else ()
    kinds = sorted({str(p.dtype).removeprefix("torch.") for p in parameters})
    return f"weights {', '.join(kinds) or _NO_WEIGHTS}, scores {str(logits.dtype).removeprefix('torch.')}"


def _repeats(one: Model, inputs: Tensor, logits: Tensor) -> str:
    if not isinstance(one.source, Scores):
        return "cannot be asked again: its scores were recorded"
    largest = logits.abs().nan_to_num(0, 0).max().clamp(min=1e-12)
    same = torch.allclose(_answers(one, inputs), logits, rtol=0, atol=_ROUNDING * float(largest), equal_nan=True)
    return "answers the same twice" if same else "answers otherwise when asked again"


def _varies(logits: Tensor) -> str:
    if not bool(logits.isfinite().all()):
        return "holds NaN or infinity"
    kinds = len(set(logits.argmax(1).tolist()))
    return "names more than one class" if kinds > 1 else "names one class whatever the input"


@torch.no_grad()
def _answers(one: Model, inputs: Tensor) -> Tensor:
    if not isinstance(one.source, Scores):
        raise one.lacking("predicts")
    step = one.batch or (1 if one.alone else len(inputs) if one.mixes else 128)
    return torch.cat([one.source.scores(part) for part in torch.split(inputs, step)]).float()


def _better(other: Tensor, plain: Tensor, targets: Tensor) -> bool:
    """Say whether another reading is better by far, or by more than chance could make of it (a sign test)."""
    if _far_better(other, plain, targets):
        return True
    won = int(((other == targets) & (plain != targets)).sum())
    lost = int(((other != targets) & (plain == targets)).sum())
    many = _recall(other, targets) > max(_recall(plain, targets) + _GAIN, _MANY)
    return many and won > 0 and float(bdtrc(won - 1, won + lost, 0.5)) < _CHANCE


def _far_better(other: Tensor, plain: Tensor, targets: Tensor) -> bool:
    """Say whether another reading is so much better that it must be the one that is meant."""
    return _recall(other, targets) > max(_recall(plain, targets) + _FAR, _MANY)


def _recall(predicted: Tensor, targets: Tensor) -> float:
    """Return the share of a class that is named rightly, averaged over classes: naming the commonest one gains nothing.

    NaN where there are no examples.
    """
    right, kinds = (predicted == targets).float(), sorted(set(targets.tolist()))
    return float(torch.stack([right[targets == kind].mean() for kind in kinds]).mean()) if kinds else float("nan")
