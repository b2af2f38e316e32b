"""What a model wants done to inputs before it sees them: preprocessing belongs to the model, and two may differ in it.

Inputs of a task are numbers as the data has them, images ``(N, channels, height, width)`` usually in [0, 1]. A model of
another tool may have been trained on such that were resized, multiplied by 255, or standardized by channel. Declared,
it is done on the way to that model alone, so that attacks, gradients and explanations stay on the task's own inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse import limits
from whatelse.errors import TaskError, nearest
from whatelse.models.model import Bounded, Elsewhere, Keyed, Mixes, Opens, Remarked, Scores, Stores
from whatelse.models.onnx_work import Works
from whatelse.tasks.task import Split, Task

T = TypeVar("T")
LAYOUTS = ("NCHW", "NHWC")
PIXELS = ("unit", "bytes", "uint8")
_IMAGES, _MOST = 3, 255.0
_TRIED = 64  # examples that a model is tried on when it is opened
# What a model may tell of itself beside its scores: by protocol, the names that it stands under.
_TELLS: Mapping[type[Any], tuple[str, ...]] = {
    Keyed: ("key",),
    Remarked: ("told",),
    Mixes: ("mixes",),
    Bounded: ("most",),
    Elsewhere: ("is_still",),
    Stores: ("stored_bytes", "stored_weights"),
    Works: ("multiplied",),
}


@dataclass(frozen=True)
class Preparation:
    """What is done to inputs, in this order.

    Attributes:
        resize: Height and width that images are interpolated to, bilinear with antialiasing; empty for as they are.
        pixels: ``unit`` for numbers as they are, ``bytes`` for 255 times them, ``uint8`` for these as whole numbers.
        mean: What is subtracted, one number or one a channel, red first (of a table: one a column); empty for nothing.
            In the scale of ``pixels``, as whoever trained the model has it.
        std: What is divided by, likewise.
        channels: ``RGB`` for as they are, ``BGR`` for the other way round.
        layout: ``NCHW`` for as they are, ``NHWC`` for channels last.
    """

    resize: tuple[int, ...] = ()
    pixels: str = "unit"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels: str = "RGB"
    layout: str = "NCHW"

    def __str__(self) -> str:
        """Return what is done, in words; nothing where nothing is."""
        told = {
            "resized to {}": "x".join(map(str, self.resize)),
            "in {}": {"unit": "", "bytes": "0 to 255", "uint8": "whole numbers from 0 to 255"}[self.pixels],
            "less {}": ", ".join(f"{value:g}" for value in self.mean),
            "divided by {}": ", ".join(f"{value:g}" for value in self.std),
            "as {}": self.channels if self.channels != "RGB" else "",
            "laid out {}": self.layout if self.layout != "NCHW" else "",
        }
        return ", ".join(form.format(value) for form, value in told.items() if value)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return inputs as the model wants them; differentiable, but for ``uint8``.

        Args:
            inputs: ``(N, ...)`` of the task.
        """
        x = inputs
        if self.resize:
            x = functional.interpolate(x, size=self.resize, mode="bilinear", align_corners=False, antialias=True)
        if self.pixels != "unit":
            x = x * _MOST
        if self.mean:
            x = x - self._along(self.mean, x)
        if self.std:
            x = x / self._along(self.std, x)
        if self.channels == "BGR":
            x = x.flip(1)
        if self.layout == "NHWC":
            x = x.permute(0, 2, 3, 1).contiguous()
        return x.round().clamp(0, _MOST).to(torch.uint8) if self.pixels == "uint8" else x

    def check(self, task: Task, name: str, own: str = "") -> None:
        """Refuse what does not fit a task.

        Args:
            task: Its inputs are to be prepared.
            name: How messages call the model.
            own: Why nothing may be done to the inputs of the model; empty where it may.

        Raises:
            TaskError: Its inputs are none that this could be done to; the message names the setting.
        """
        if own and self != NOTHING:
            raise TaskError(f"{name}: {_first(self)}: it {own}; leave it out, or say MODEL=VALUE for the others")
        if task.vocabulary and self != NOTHING:
            raise TaskError(f"{name}: {_first(self)}: inputs are token ids, which nothing is done to; leave it out")
        image = len(task.shape) == _IMAGES
        large = 4 * _TRIED * task.shape[0] * prod(self.resize or (0,))
        limits.check(large, 0, f"{name}: --resize: {_TRIED} images of {'x'.join(map(str, self.resize))}", TaskError)
        for setting, given, plain in (
            ("--resize", self.resize, ()),
            ("--layout", self.layout, "NCHW"),
            ("--channels", self.channels, "RGB"),
            ("--pixels", self.pixels, "unit"),
        ):
            if given != plain and not image:
                raise TaskError(f"{name}: {setting}: inputs are of shape {task.shape}, no images; leave it out")
        if (self.mean or self.std) and any(unit != (0.0, 1.0) for unit in task.units):
            raise TaskError(
                f"{name}: {'--mean' if self.mean else '--std'}: numbers of the data are standardized already; say "
                "--scale none to have them as they stand in the file, or leave it out"
            )
        for setting, values in (("--mean", self.mean), ("--std", self.std)):
            if len(values) not in {0, 1, task.shape[0]} or (len(values) > 1 and len(task.shape) == 2):  # noqa: PLR2004
                raise TaskError(
                    f"{name}: {setting}: got {len(values)} numbers; 1 or {task.shape[0]} are needed, one for each "
                    f"{'channel' if image else 'column'} of inputs of shape {task.shape}"
                )

    def _along(self, values: tuple[float, ...], x: Tensor) -> Tensor:
        return torch.tensor(values, dtype=x.dtype, device=x.device).reshape(1, -1, *[1] * (x.dim() - 2))


NOTHING = Preparation()


class Prepared(nn.Module):
    """A module behind its preparation.

    Attributes:
        model: The module.
        prepare: What is done to its inputs.
    """

    def __init__(self, model: nn.Module, prepare: Preparation) -> None:
        super().__init__()
        self.training = model.training
        self.model, self.prepare = model, prepare

    def forward(self, x: Tensor) -> object:
        """Return what the module answers.

        Args:
            x: ``(N, ...)`` of the task.
        """
        return self.model(self.prepare(x))


class PreparedScores:
    """What answers with scores, behind its preparation; what else it tells of itself, it tells as before.

    Gradients that it states are those of what it is handed, not of the task's inputs: it has none here.

    Attributes:
        model: What answers.
        prepare: What is done to its inputs.
    """

    def __init__(self, model: Scores, prepare: Preparation) -> None:
        self.model, self.prepare = model, prepare

    def scores(self, inputs: Tensor) -> Tensor:
        """Return class scores, ``(N, classes)``.

        Args:
            inputs: ``(N, ...)`` of the task.
        """
        return self.model.scores(self.prepare(inputs))


def _prepared(model: Scores, made: Preparation) -> PreparedScores:
    """Return a model behind its preparation, with all that it tells of itself.

    From Python 3.12 on a protocol is satisfied by what a class has, and no more by what ``__getattr__`` finds.
    """
    names = {name for kind in _TELLS if isinstance(model, kind) for name in _TELLS[kind]}
    tells = {name: _handed_on(name) for name in sorted(names)}
    kind: type[PreparedScores] = type(PreparedScores.__name__, (PreparedScores,), tells)
    return kind(model, made)


def _handed_on(name: str) -> property:
    return property(lambda prepared: getattr(prepared.model, name))


@dataclass(frozen=True)
class Way:
    """How a model is asked, as its owner declares it.

    Attributes:
        batch: How many examples at once; 0 for as many as suit it.
        prepare: What is done to its inputs.
        device: Where a torch module computes; empty for the CPU.
    """

    batch: int = 0
    prepare: Preparation = NOTHING
    device: str = ""

    @property
    def mark(self) -> str:
        """What tells results of a model that is asked so from those of the same one asked otherwise."""
        done = hashlib.sha256(repr(self.prepare).encode()).hexdigest()[:8]
        parts = (
            f"-by-{self.batch}" if self.batch else "",
            f"-{done}" if self.prepare != NOTHING else "",
            f"-on-{self.device}" if self.device else "",
        )
        return "".join(parts)

    @property
    def told(self) -> list[str]:
        """What a reader must know of it, one line each."""
        return [] if self.prepare == NOTHING else [f"its inputs are {self.prepare}, as declared"]


PLAIN = Way()


def behind(model: T, made: Preparation, name: str) -> T | Prepared | PreparedScores:
    """Return a model behind its preparation; itself where nothing is done.

    Args:
        model: A module, or what answers with scores.
        made: What is done.
        name: How messages call the model.

    Raises:
        TaskError: Its scores were recorded, so that nothing can be done to what it was asked.
    """
    if made == NOTHING:
        return model
    if isinstance(model, nn.Module):
        return Prepared(model, made)
    if isinstance(model, Scores) and not isinstance(model, Opens):
        return _prepared(model, made)
    raise TaskError(
        f"{name}: {_first(made)}: it is a {type(model).__name__}, whose inputs nothing is done to; leave it out"
    )


def read(options: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, Preparation]:
    """Return the preparation of every model from what a user types.

    Args:
        options: By the name of a field of `Preparation`: values, each for all models, or ``MODEL=VALUE`` for one.
        names: Names of all models.

    Raises:
        TaskError: A model is not known, or a value is none; the message names the option.
    """
    made = dict.fromkeys(names, NOTHING)
    for option, values in options.items():
        # What is for one model stands over what is for all, whichever comes first.
        for text in sorted(values, key=lambda one: "=" in one):
            name, _, value = text.rpartition("=")
            if name and name not in made:
                raise TaskError(f"--{option} {text}: no model {name!r}; {nearest(name, names)}")
            for one in [name] if name else names:
                made[one] = replace(made[one], **{option: _READERS[option](value, f"--{option} {text}")})
    return made


def _first(made: Preparation) -> str:
    return next(f"--{field.name}" for field in fields(made) if getattr(made, field.name) != field.default)


def _numbers(value: str, where: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in value.split(","))
    except ValueError:
        found = (float("nan"),)
    if not all(abs(one) < float("inf") for one in found):
        raise TaskError(f"{where}: got {value!r}; numbers joined by commas are needed, such as 0.485,0.456,0.406")
    return found


def _spreads(value: str, where: str) -> tuple[float, ...]:
    found = _numbers(value, where)
    if min(found) <= 0:
        raise TaskError(f"{where}: got {min(found):g}; what is divided by must be above 0")
    return found


def _size(value: str, where: str) -> tuple[int, ...]:
    parts = value.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 0 < int(part) <= 16_384 for part in parts):  # noqa: PLR2004
        raise TaskError(f"{where}: got {value!r}; a size is needed, such as 224 or 224x224")
    return (int(parts[0]), int(parts[-1]))


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, str], str]:
    def chosen(value: str, where: str) -> str:
        known = {one.lower(): one for one in allowed}
        if value.lower() not in known:
            raise TaskError(f"{where}: got {value!r}; allowed are {', '.join(allowed)}")
        return known[value.lower()]

    return chosen


_READERS: Mapping[str, Callable[[str, str], Any]] = {
    "resize": _size,
    "pixels": _one_of(PIXELS),
    "mean": _numbers,
    "std": _spreads,
    "channels": _one_of(("RGB", "BGR")),
    "layout": _one_of(LAYOUTS),
}


def before(made: Preparation, task: Task) -> Task:
    """Return a task whose inputs are prepared: what a model is tried on when it is opened.

    Args:
        made: What is done; nothing gives the task itself.
        task: The examples.
    """
    if made == NOTHING:
        return task
    few = {name: split.take(_some(split)) for name, split in task.splits.items()}
    done = {name: replace(split, inputs=made(split.inputs).float(), masks=None) for name, split in few.items()}
    return replace(task, splits=done, bounds=None)


def _some(split: Split) -> Tensor:
    """Return the first examples, and one of another class where these have one class alone."""
    other = (split.targets != split.targets[:1]).nonzero().flatten()[:1]
    return torch.cat([torch.arange(min(_TRIED, len(split))), other[other >= _TRIED]])
