"""What a language model is asked: documents that it reads, choices that it weighs, pairs, or graded samples.

An example is a passage, and an input the number of one, ``(N, 1)``: picking, joining and cutting examples stay what
they are for every other task. What answers reads the passage by a tokenizer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from whatelse.errors import TaskError

DOCUMENTS, CHOICES, PAIRS, GRADED = FORMS = ("documents", "choices", "pairs", "graded")


@dataclass(frozen=True)
class Passage:
    """What a model is asked of one example.

    Attributes:
        context: What stands before; empty for nothing.
        continuations: What may follow: the choices, with whatever parts them from the context; the two sentences of a
            pair; of a document the document alone; of a sample that another tool graded its two grades.
        lengths: Characters by which scores of the continuations are normalized, without what parts them from the
            context, as lm-eval counts them; nothing for those of the continuations.
        mark: By what a log of another tool knows the example; empty where there is none.
        contexts: What stands before every continuation, where that differs; nothing where it is ``context``.
    """

    context: str
    continuations: tuple[str, ...]
    lengths: tuple[int, ...] = ()
    mark: str = ""
    contexts: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Characters of every continuation."""
        return self.lengths or tuple(map(len, self.continuations))

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """What stands before every continuation, and it."""
        before = self.contexts or (self.context,) * len(self.continuations)
        return tuple(zip(before, self.continuations, strict=True))


@dataclass(frozen=True)
class Calibration:
    """The text that methods look at, which is no example.

    Attributes:
        texts: Documents.
        windows: How many windows of it a method sees, at most.
        tokens: Of a window; 0 for as many as the model reads at once, or 2,048 where that is more.
    """

    texts: tuple[str, ...] = ()
    windows: int = 128
    tokens: int = 0


@dataclass(frozen=True)
class Language:
    """Passages of one form.

    Attributes:
        form: Out of `FORMS`.
        passages: All of them; inputs are their numbers.
        context: Tokens that a model reads at once at most; 0 for as many as it takes.
        calibration: What methods look at.
    """

    form: str
    passages: tuple[Passage, ...]
    context: int = 0
    calibration: Calibration = field(default=Calibration(), repr=False)

    @property
    def content(self) -> str:
        """All that it holds, as text; what methods look at only where there is some."""
        return repr(self) + (repr(self.calibration) if self.calibration.texts else "")

    def of(self, inputs: torch.Tensor) -> list[Passage]:
        """Return the passages of some inputs.

        Args:
            inputs: Their numbers, ``(N, 1)``.
        """
        return [self.passages[number] for number in inputs.long().flatten().tolist()]

    def check(self, where: str, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Refuse inputs that are no passages, and answers that are no choice of theirs.

        Args:
            where: How messages call the examples.
            inputs: ``(N, 1)``.
            targets: Numbers of the right continuations, ``(N,)``.

        Raises:
            TaskError: There is one.
        """
        if not len(inputs):
            return
        if inputs.shape[1:] != (1,):
            raise TaskError(f"{where}: inputs are {tuple(inputs.shape)}; the number of a passage each, (N, 1)")
        number = inputs.double().flatten()
        known = (number >= 0) & (number < len(self.passages)) & (number == number.round())
        if not bool(known.all()):
            row = int((~known).nonzero()[0])
            raise TaskError(f"{where}: row {row} is {inputs[row].tolist()}; there are {len(self.passages)} passages")
        counts = torch.tensor([len(one.continuations) for one in self.of(inputs)])
        wrong = targets >= counts
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise TaskError(f"{where}: target of row {row} is {int(targets[row])}; it has {int(counts[row])} choices")
