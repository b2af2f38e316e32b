"""What was observed of one model on one task: each observation made once and shared by all behaviours."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from whatelse.errors import NotMeasurableError
from whatelse.evidence.batches import channels_last, collected
from whatelse.evidence.loudness import louder, moves, temperature
from whatelse.evidence.shadows import Keep as Keep
from whatelse.evidence.shadows import Passes as Passes
from whatelse.evidence.shadows import References as References
from whatelse.models.activations import editing, entering, keeping
from whatelse.models.subject import Subject, log_odds
from whatelse.tasks.task import Split, Task

_VALUES = 400_000  # of one batch: with gradients, it holds every layer of a ResNet-20 in about 300 MB
_FURTHER = 1_000_003  # lies between the seeds of one measurement and of the next
_NOISE = 2022  # seed of what inputs are moved by, for the sensitivity


@dataclass(eq=False)
class Evidence:
    """Observations of one subject on one task, computed on first use and then held.

    Attributes:
        subject: The model under audit.
        task: The examples.
        reference: Evidence of the baseline, if this is a candidate: gradients are then those of the class
            that the baseline predicts, so that both models explain the same thing.
        shadows: Gives the `References` of the subject's recipe, for membership; None where there are none.
        keep: Where observations outlive the process; None holds them in memory only.
        batch: Examples a pass; 0 fits it to the size of an input. Halved when memory runs out.
        again: 0, or the number of another measurement with other random numbers.
        passes: What was spent so far.
        notes: Remarks on how far the values go.
        pictures: What a behaviour made that people can look at: ``shown`` and ``made``, each ``(M, ...)``.
        doubts: Failed checks: the measurement is *not trusted*. ``flatters``: those that only make it look better.
        parts: Names of the parts that ``by_part`` answers for; ``parts_read`` says how to read them.
        tree: The tree that stands for the model, for the report: a tensor for each column of its nodes.
        rows: Which test examples the values are of, ``(M,)``, where they are not the first M.
        ends: ``worst`` and ``blind``, where the data or the settings decide them and not the item's constants.
    """

    subject: Subject
    task: Task
    reference: Evidence | None = None
    shadows: Callable[[], References] | None = None
    keep: Keep | None = None
    batch: int = 0
    again: int = 0
    passes: Passes = field(default_factory=Passes)
    notes: list[str] = field(default_factory=list)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    flatters: list[str] = field(default_factory=list)
    parts: tuple[str, ...] = ()
    parts_read: dict[str, str] = field(default_factory=dict)
    tree: dict[str, Tensor] = field(default_factory=dict)
    rows: Tensor | None = None
    ends: dict[str, float | None] = field(default_factory=dict)
    _held: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fit = max(16, _VALUES // prod(self.task.shape))
        self.batch = self.batch or (1 if self.subject.alone else fit if self.subject.mixes else min(512, fit))

    @property
    def model(self) -> nn.Module:
        """The module, frozen and in evaluation mode."""
        return self.subject.model

    @property
    def inside(self) -> nn.Module:
        """The module whose layers are looked at, by their own names: the model without what reads its answers."""
        return self.subject.inside

    @property
    def slopes(self) -> nn.Module:
        """The module that gradients are taken of: the model, or where its kernels drop them its surrogate."""
        return self.subject.surrogate or self.subject.model

    def draws(self, seed: int) -> torch.Generator:
        """Return the source of what is drawn alike for every model, by the behaviour's own seed."""
        return torch.Generator().manual_seed(seed + _FURTHER * self.again)

    def split(self, name: str) -> Split:
        """Return the examples of a split.

        Args:
            name: One of `whatelse.tasks.task.SPLITS`.

        Raises:
            NotMeasurableError: It is empty, as train may be where nothing is trained.
        """
        found = self.task.split(name)
        if not len(found):
            raise NotMeasurableError(f"needs examples of {name}; task {self.task.name} has none")
        return found

    def bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest value that an input may take.

        Raises:
            NotMeasurableError: None are known.
        """
        if self.task.bounds is None:
            raise NotMeasurableError(f"needs bounds on the inputs; task {self.task.name} has none")
        return self.task.bounds

    def logits(self, split: str = "test") -> Tensor:
        """Return the class scores, ``(N, classes)``; those that are not numbers are doubted aloud.

        Args:
            split: Which examples.
        """
        found = self._observed(split)["logits"]
        broken = int((found.isnan() | found.isposinf()).any(1).sum())
        told = f"{self.subject.name} answers {broken} of {len(found)} examples of {split} with NaN or infinity"
        if broken and told not in self.doubts:
            self.distrust(told)
        return found

    def predictions(self, split: str = "test") -> Tensor:
        """Return the predicted class of every example, ``(N,)``.

        Args:
            split: Which examples.
        """
        return self.logits(split).argmax(1)

    def explained(self, split: str = "test") -> Tensor:
        """Return the class whose log-odds margin is differentiated, ``(N,)``: the baseline's prediction.

        Args:
            split: Which examples.
        """
        return self.predictions(split) if self.reference is None else self.reference.predictions(split)

    def margin_gradient(self, split: str = "test") -> Tensor:
        """Return the input gradient of the log-odds margin of the explained class, ``(N, ...)``.

        Of texts it is that of the embedding, ``(N, tokens, width)``; scores are as loud as the baseline's.

        Args:
            split: Which examples; only of test does the shared pass hold gradients, of others they are taken anew.

        Raises:
            NotMeasurableError: The subject does not differentiate.
        """
        self.subject.require("differentiates")
        if split != "test":
            return self.gradients(self.split(split).inputs, self.explained(split))
        return self._observed(split)["gradient"]

    def embedded(self, split: str = "test") -> Tensor:
        """Return the embedding of every token, ``(N, tokens, width)``.

        Args:
            split: Which texts.

        Raises:
            NotMeasurableError: Inputs are not token ids, or the subject has no embedding to begin at.
        """
        self.subject.require("differentiates")
        if not self.task.vocabulary:
            raise NotMeasurableError(f"needs texts; task {self.task.name} is of {self.task.modality}")
        return self._batched(self.split(split).inputs, self._embed)["embedded"]

    def activations(self, split: str = "test") -> dict[str, Tensor]:
        """Return activations after each nonlinearity, by layer ``(N, units)``, averaged over space or tokens.

        Where a network has its nonlinearities as functions, the outputs of its blocks are taken; where it has no
        blocks, those of all linear and convolutional layers but the last. Padding tokens are left out.

        Args:
            split: Which examples.

        Raises:
            NotMeasurableError: The subject does not open.
        """
        self.subject.require("opens")
        held = self._observed(split)
        # Sorted, as what is kept on disk comes back in any order: the names count the layers.
        return {name.split(" ", 2)[2]: held[name] for name in sorted(held) if name.startswith("layer ")}

    def hidden(self, split: str = "test") -> Tensor:
        """Return the last hidden layer, ``(N, units)``.

        Args:
            split: Which examples.

        Raises:
            NotMeasurableError: The subject does not open, or has no hidden nonlinearity.
        """
        layers = self.activations(split)
        if not layers:
            raise NotMeasurableError(f"needs a hidden layer; none is called in {self.subject.name}")
        return list(layers.values())[-1]

    def answers(self, inputs: Tensor, edits: Mapping[str, Callable[[Tensor], Tensor]] | None = None) -> Tensor:
        """Return the class scores of any inputs, ``(M, classes)``, without gradients.

        Args:
            inputs: ``(M, ...)``.
            edits: For a layer of `activations`, what is done to its whole output on the way, as in an ablation.
        """
        with editing(self.inside, edits or {}):
            return self._batched(inputs, self._answer)["logits"]

    def gradients(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of the log-odds margin at any inputs, ``(M, ...)``; of texts, of their embedding.

        Args:
            inputs: ``(M, ...)``.
            labels: The class whose margin is differentiated, ``(M,)``.

        Raises:
            NotMeasurableError: The subject does not differentiate.
        """
        self.subject.require("differentiates")
        return self._batched(inputs, lambda x, rows: {"gradient": self._slope(x, labels[rows])})["gradient"]

    def sensitivity(self, inputs: Tensor) -> Tensor:
        """Return ``mean |p(x + eps u) - p(x)| / eps``, how far probabilities move with tiny noise, ``(M, classes)``.

        Ten draws of ``u ~ N(0, 1)``, the same for every model, and ``eps = 1e-3`` (Yuan & Zhang, USENIX Security 2022);
        of probabilities at the model's own temperature, in double precision.

        Args:
            inputs: ``(M, ...)``; no token ids.
        """
        return moves(self.answers, inputs, temperature(self), self.draws(_NOISE))

    def references(self) -> References:
        """Return what shadow models of the same recipe say of the records: train, then as many of test.

        Raises:
            NotMeasurableError: There are no shadow models.
        """
        if self.shadows is None:
            raise NotMeasurableError("needs shadow models trained and compressed by the same recipe; there are none")
        return self.shadows()

    def once(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return an observation of one's own, made on first use, kept where the evidence is kept.

        Args:
            name: Says what it is, with every setting that decides it.
            make: Computes it.
        """
        if name not in self._held:
            kept = None if self.keep is None else self.keep.load(name)
            if kept is None:
                kept = make()
                if self.keep is not None:
                    self.keep.save(name, kept)
            self._held[name] = kept
        return self._held[name]

    def note(self, text: str) -> None:
        """Remark on how far the values of a behaviour go; printed beside its verdict.

        Args:
            text: One line.
        """
        self.notes.append(text)

    def show(self, shown: Tensor, made: Tensor) -> None:
        """Offer pictures for the report: examples, and what was made of them.

        Args:
            shown: Examples, ``(M, ...)``.
            made: What an attack rebuilt of each, ``(M, ...)``.
        """
        self.pictures = {"shown": shown.float(), "made": made.float()}

    def name_parts(self, names: Sequence[str], *, unit: str = "", better: str = "") -> None:
        """Name the parts that the behaviour's ``by_part`` answers for, in its order.

        Args:
            names: The same, in the same order, for every model; last, those of parts without an example, unanswered.
            unit: Of the parts, where it is not the behaviour's own.
            better: Of the parts, ``higher``, ``lower`` or ``neither``, where it is not the behaviour's own.
        """
        self.parts = tuple(names)
        self.parts_read = {word: told for word, told in (("unit", unit), ("better", better)) if told}

    def draw(self, tree: Mapping[str, Tensor]) -> None:
        """Offer the tree that stands for the model, for the report to draw.

        Args:
            tree: A tensor for each column of its nodes, such as ``feature`` and ``threshold``.
        """
        self.tree = dict(tree)

    def forget(self) -> None:
        """Drop what the last behaviour remarked, doubted, named and offered; observations stay."""
        self.notes, self.doubts, self.flatters, self.parts, self.parts_read = [], [], [], (), {}
        self.pictures, self.tree, self.rows, self.ends = {}, {}, None, {}

    def distrust(self, text: str, *, flatters: bool = False) -> None:
        """Record a failed validity check: the verdict becomes *not trusted*.

        Args:
            text: One line that names the check and the number.
            flatters: The value can only look better than it is, as under too weak an attack: *worsened* stands.
        """
        self.doubts.append(text)
        self.flatters += [text] * flatters

    def _observed(self, split: str) -> dict[str, Tensor]:
        return self.once(f"pass {split}", lambda: self._pass(split))

    def _pass(self, split: str) -> dict[str, Tensor]:
        gradient = split == "test" and "differentiates" in self.subject.offers
        fixed = None if self.reference is None or not gradient else self.explained(split)
        return self._batched(
            self.split(split).inputs,
            lambda x, rows: self._look(x, None if fixed is None else fixed[rows], gradient=gradient),
        )

    def _batched(self, inputs: Tensor, look: Callable[[Tensor, slice], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return what was seen of all inputs; the batch is halved where memory runs out."""

        def smaller(size: int) -> None:
            self.batch = size
            self.note(f"memory ran out: the batch was halved to {size}")

        lay = channels_last if self.subject.channels_last else Tensor.contiguous
        return collected(inputs, lambda x, rows: look(lay(x), rows), self.batch, self.subject.least, smaller)

    @torch.no_grad()
    def _answer(self, x: Tensor, rows: slice) -> dict[str, Tensor]:
        del rows
        self.passes.forward += len(x)
        return {"logits": self.model(x)}

    @torch.no_grad()
    def _embed(self, x: Tensor, rows: slice) -> dict[str, Tensor]:
        del rows
        self.passes.forward += len(x)
        with entering(self.model, self.subject.entrance) as seen:
            self.model(x)
        return {"embedded": seen[0].detach()}

    @contextmanager
    def _leaf(self, x: Tensor) -> Generator[tuple[Tensor, Callable[[], Tensor]]]:
        """Let gradients begin at the inputs, or at the embedding of texts.

        Yields:
            What the model is asked, and a function that returns, after the pass, where gradients begin.
        """
        if self.task.vocabulary:
            with entering(self.slopes, self.subject.entrance) as seen:
                yield x, lambda: seen[0]
        else:
            start = x.detach().requires_grad_()
            yield start, lambda: start

    def _look(self, x: Tensor, explained: Tensor | None, *, gradient: bool) -> dict[str, Tensor]:
        told = x != 0 if self.task.vocabulary else None
        times = louder(self) if gradient else 1.0  # before the hooks are set: it may take a pass of its own
        apart = gradient and self.slopes is not self.model
        with keeping(self.inside, told) as seen:
            if not gradient or apart:
                with torch.no_grad():
                    logits = self.model(x)
            else:
                with self._leaf(x) as (start, leaf):
                    logits = self.model(start)
                    labels = logits.argmax(1) if explained is None else explained
                    (slope,) = torch.autograd.grad(log_odds(logits / times, labels).sum(), leaf())
                self.passes.backward += len(x)
        self.passes.forward += len(x)
        if apart:
            slope = self._slope(x, logits.argmax(1) if explained is None else explained)
        found = {"logits": logits.detach(), **{name: t.detach()[: len(x)] for name, t in seen.items()}}
        return {**found, "gradient": slope} if gradient else found

    def _slope(self, x: Tensor, labels: Tensor) -> Tensor:
        times = louder(self)
        with self._leaf(x) as (start, leaf):
            logits = self.slopes(start)
            (slope,) = torch.autograd.grad(log_odds(logits / times, labels).sum(), leaf())
        self.passes.forward += len(x)
        self.passes.backward += len(x)
        return slope
