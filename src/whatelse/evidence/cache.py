"""What was observed of one model on one task: each observation made once and shared by all behaviours."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from whatelse import mapped
from whatelse.answer import Doubt
from whatelse.errors import NotMeasurableError
from whatelse.evidence import activations, gradients, scores, shared_pass, tokens
from whatelse.evidence.batches import channels_last, collected
from whatelse.evidence.loudness import moves, temperature
from whatelse.evidence.said import Said
from whatelse.evidence.shadows import APART
from whatelse.evidence.shadows import Keep as Keep
from whatelse.evidence.shadows import Passes as Passes
from whatelse.evidence.shadows import References as References
from whatelse.models.activations import editing
from whatelse.models.model import Model, Scores
from whatelse.models.subject import Subject
from whatelse.modules import programs
from whatelse.tasks.language import CHOICES, PAIRS
from whatelse.tasks.task import Split, Task

_VALUES = 400_000  # of one batch: with gradients, it holds every layer of a ResNet-20 in about 300 MB
_NEAR = 100_000  # likewise on this processor: layers of more leave its caches, and take up to twice the time
_FURTHER = 1_000_003  # lies between the seeds of one measurement and of the next
_PASS = "pass "  # how the names of what all behaviors share begin
_NOISE = 2022  # seed of what inputs are moved by, for the sensitivity


@dataclass(eq=False)
class Evidence:
    """Observations of one model on one task, computed on first use and then held.

    Attributes:
        subject: The model under audit.
        task: The examples; where verdicts are given on another split, that one stands in the place of test.
        reference: Evidence of the baseline, if this is a candidate: gradients are then those of the class
            that the baseline predicts, so that both models explain the same thing.
        shadows: Gives the `References` of the subject's recipe, for membership; None where there are none.
        keep: Where observations outlive the process; None holds them in memory only.
        batch: Examples a pass; 0 fits it to the size of an input. Halved when memory runs out.
        again: 0, or the number of another measurement with other random numbers.
        on: The split that verdicts are given on: a search looks at select, and never at test.
        passes: What was spent so far.
    """

    subject: Model
    task: Task
    reference: Evidence | None = None
    shadows: Callable[[], References] | None = None
    keep: Keep | None = None
    batch: int = 0
    again: int = 0
    on: str = field(default="test", kw_only=True)
    passes: Passes = field(default_factory=Passes)
    _held: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _here: dict[str, Tensor] = field(default_factory=dict)
    _broken: dict[str, str] = field(default_factory=dict)
    _told: dict[str, Said] = field(default_factory=dict)
    _hearing: list[Said] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.reference is not None and self.reference.on != self.on:
            raise ValueError(f"evidence on {self.on} with a reference on {self.reference.on}; both need the same split")
        self.task = self.task.on(self.on)
        fit = max(16, _VALUES // prod(self.task.shape))
        near = isinstance(self.subject, Subject) and not self.subject.elsewhere
        some = max(16, _NEAR // prod(self.task.shape)) if near else fit
        self.batch = (
            self.subject.batch
            or self.batch
            or (1 if self.subject.alone else fit if self.subject.mixes else min(512, some))
        )

    @property
    def opened(self) -> Subject:
        """The model as the torch module that it is, with all that is known of it.

        Raises:
            NotMeasurableError: It is none.
        """
        if isinstance(self.subject, Subject):
            return self.subject
        raise self.subject.lacking("opens")

    @property
    def model(self) -> nn.Module:
        """The module, frozen and in evaluation mode; refused as `opened` is."""
        return self.opened.model

    @property
    def inside(self) -> nn.Module:
        """The module whose layers are looked at, by their own names: the model without what reads its answers."""
        return self.opened.inside

    @property
    def slopes(self) -> nn.Module:
        """The module that gradients are taken of: the model, or where its kernels drop them its surrogate."""
        return self.opened.slopes

    @property
    def modules(self) -> set[nn.Module]:
        """The modules that answer and that gradients are taken of; none where the model is no module."""
        return {self.subject.model, self.subject.slopes} if isinstance(self.subject, Subject) else set()

    @property
    def runs(self) -> Callable[[Tensor], object]:
        """What its owner runs, whose time counts.

        Raises:
            NotMeasurableError: It cannot be run.
        """
        if isinstance(self.subject, Subject):
            return self.subject.runs or self.subject.model
        if isinstance(self.subject.source, Scores):
            return self.subject.source.scores
        raise self.subject.lacking("predicts")

    def draws(self, seed: int) -> torch.Generator:
        """Return the source of what is drawn alike for every model, by the behaviour's own seed."""
        return torch.Generator().manual_seed(seed + _FURTHER * self.again)

    @contextmanager
    def heard(self) -> Generator[Said]:
        """Collect what is to be said of every observation that is used meanwhile, also of those made earlier.

        Yields:
            Notes and doubts, filled as observations are used.
        """
        said = Said()
        self._hearing.append(said)
        try:
            yield said
        finally:
            self._hearing.pop()

    def say(self, *, note: str = "", doubt: str = "") -> None:
        """Tell whoever asks something of an observation.

        Args:
            note: How far it goes.
            doubt: Why it is not to be trusted.
        """
        told = Said([note] if note else [], [Doubt(doubt)] if doubt else [])
        for said in self._hearing:
            said.add(told)

    def split(self, name: str = "test") -> Split:
        """Return the examples of a split.

        Args:
            name: One of `whatelse.tasks.task.SPLITS`; ``test`` is what verdicts are given on.

        Raises:
            NotMeasurableError: It is empty, as train may be where nothing is trained.
        """
        found = self.task.split(name)
        if not len(found):
            raise NotMeasurableError(f"needs examples of {name}; task {self.task.name} has none")
        return found

    def laid(self, x: Tensor) -> Tensor:
        """Return a batch of inputs as it lies best in memory for the model.

        Args:
            x: ``(M, ...)``.
        """
        return channels_last(x) if self.subject.channels_last else x.contiguous()

    def bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest value that an input may take.

        Raises:
            NotMeasurableError: None are known.
        """
        if self.task.bounds is None:
            lacks = "is of words, which have none" if self.task.sentences else "has none"
            raise NotMeasurableError(f"needs bounds on the inputs; task {self.task.name} {lacks}")
        return self.task.bounds

    def logits(self, split: str = "test") -> Tensor:
        """Return the class scores, ``(N, classes)``; those that are not numbers are doubted aloud.

        Args:
            split: Which examples.
        """
        found = self._observed(split)["logits"]
        if split not in self._broken:
            self._broken[split] = scores.broken(found)
        if told := self._broken[split]:
            self.say(doubt=f"{self.subject.name} answers {told} of {split} with NaN or infinity")
        return found

    def predictions(self, split: str = "test") -> Tensor:
        """Return the predicted class of every example, ``(N,)``.

        Args:
            split: Which examples.
        """
        found = self.logits(split)
        return self.here(f"predictions of {split}", lambda: found.argmax(1))

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
        if split not in {"test", self.on}:
            return self.gradients(self.split(split).inputs, self.explained(split))
        return self._observed("test")["gradient"]

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
        return self._batched(self.split(split).inputs, lambda x, _: gradients.embedded(self, x))["embedded"]

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
        return activations.by_layer(self._observed(split))

    def hidden(self, split: str = "test") -> Tensor:
        """Return the last hidden layer, ``(N, units)``.

        Args:
            split: Which examples.

        Raises:
            NotMeasurableError: The subject does not open, or has no hidden nonlinearity.
        """
        layers = self.activations(split)
        if not layers:
            kind = programs.called(self.inside)
            why = f"{self.subject.name} is {kind}, whose layers are not called one by one" if kind else ""
            raise NotMeasurableError(f"needs a hidden layer; {why or f'none is called in {self.subject.name}'}")
        return list(layers.values())[-1]

    def answers(self, inputs: Tensor, edits: Mapping[str, Callable[[Tensor], Tensor]] | None = None) -> Tensor:
        """Return the class scores of any inputs, ``(M, classes)``, without gradients.

        Args:
            inputs: ``(M, ...)``.
            edits: For a layer of `activations`, what is done to its whole output on the way, as in an ablation.

        Raises:
            NotMeasurableError: The model answers no new inputs, or does not open to be edited.
        """
        if edits:
            with editing(self.inside, edits):
                return self.answers(inputs)
        return self._batched(inputs, lambda x, _: scores.answered(self, x))["logits"]

    def gradients(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of the log-odds margin at any inputs, ``(M, ...)``; of texts, of their embedding.

        Args:
            inputs: ``(M, ...)``.
            labels: The class whose margin is differentiated, ``(M,)``.

        Raises:
            NotMeasurableError: The subject does not differentiate.
        """
        self.subject.require("differentiates")
        return self._batched(inputs, lambda x, rows: {"gradient": gradients.slope(self, x, labels[rows])})["gradient"]

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
        return self._once(name if self.on == "test" or name.startswith(APART) else f"{name} on {self.on}", make)

    def here(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """Return what this process alone holds for whoever asks next, made on first use: too large to be kept.

        Args:
            name: Says what it is.
            make: Computes it.
        """
        if name not in self._here:
            self._here[name] = make()
        return self._here[name]

    def _once(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        if name not in self._held:
            kept = None if self.keep is None else self.keep.load(name)
            if kept is None:
                with self.heard() as said:
                    kept = make()
                self._told[name] = said
                # Of many large inputs a pass is made anew by every process: that takes less than to keep it.
                if self.keep is not None and not (name.startswith(_PASS) and mapped.is_large(_bytes(kept))):
                    self.keep.save(name, kept)
            self._held[name] = kept
        for asking in self._hearing:
            asking.add(self._told.get(name, Said()))
        return self._held[name]

    def _observed(self, split: str) -> dict[str, Tensor]:
        full = f"{_PASS}test" if self.on == "test" else f"{_PASS}{self.on} in full"
        if split == "test" or (split == self.on and full in self._held):
            return self._once(full, lambda: self._pass(self.on, gradient="differentiates" in self.subject.offers))
        return self._once(f"{_PASS}{split}", lambda: self._pass(split, gradient=False))

    def _pass(self, split: str, *, gradient: bool) -> dict[str, Tensor]:
        if "reads" in self.subject.offers and self.task.modality in {CHOICES, PAIRS}:
            return tokens.choices(self, split)
        if "predicts" not in self.subject.offers:
            return scores.recorded(self, self.split(split), split)
        fixed = None if self.reference is None or not gradient else self.explained(split)
        return self._batched(
            self.split(split).inputs,
            lambda x, rows: shared_pass.look(self, x, None if fixed is None else fixed[rows], gradient=gradient),
        )

    def _batched(self, inputs: Tensor, look: Callable[[Tensor, slice], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return what was seen of all inputs; the batch is halved where memory runs out.

        Raises:
            NotMeasurableError: Memory ran out, and the batch was declared: answers may depend on it.
        """

        def smaller(size: int) -> None:
            if self.subject.batch:
                raise NotMeasurableError(f"memory ran out in batches of {self.subject.batch}; give a smaller --batch")
            self.batch = size
            self.say(note=f"memory ran out: the batch was halved to {size}")

        return collected(inputs, lambda x, rows: look(self.laid(x), rows), self.batch, self.subject.least, smaller)


def _bytes(held: Mapping[str, Tensor]) -> int:
    return sum(one.nbytes for one in held.values())
