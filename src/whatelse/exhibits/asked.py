"""What exhibits are made from: a question, the models that were asked, and what they answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from whatelse.answer import Answer
from whatelse.auditing.questions import Measurement
from whatelse.auditing.roles import Role
from whatelse.evidence.cache import Evidence
from whatelse.items import Behaviour
from whatelse.tasks.task import Task

BASELINE = str(Role.BASELINE)


@dataclass(frozen=True)
class Candidate:
    """A model to show, or one for each seed.

    Attributes:
        name: Of the candidate.
        control: Name of what the measurement holds it against; empty where values are held against zero.
    """

    name: str
    control: str


@dataclass(frozen=True, eq=False)
class Asked:
    """A measurement that gives a row its verdict, and all that was answered on the first of its tasks.

    Answers and models come by functions, from memory or from disk, as only few of them are looked at.

    Attributes:
        measurement: What was asked.
        behaviour: The question.
        task: The examples.
        seeds: Of the study; there is one model a seed under each name.
        candidates: Those to show.
        twin: Name of the baseline's recipe under another seed; empty where there is none.
        answer_of: From name and seed of a model to its answer; None where it failed or could not be measured.
        evidence_of: From name and seed to evidence of the model, the baseline's being the reference of the others; None
            where there is no such model.
    """

    measurement: Measurement
    behaviour: Behaviour
    task: Task
    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    twin: str
    answer_of: Callable[[str, int], Answer | None]
    evidence_of: Callable[[str, int], Evidence | None]

    @property
    def of_test(self) -> bool:
        """Whether rows of an answer are test examples."""
        return self.behaviour.unit_of_analysis == "test example"

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the baseline and of the candidates."""
        return (BASELINE, *(candidate.name for candidate in self.candidates))

    @property
    def task_name(self) -> str:
        """How findings call the task."""
        return self.measurement.tasks[0]

    def shown(self, name: str, kind: str) -> Mapping[str, Tensor]:
        """Return what the answer of a model has to show of one kind, under the first seed; nothing where it has none.

        Args:
            name: Of the model.
            kind: As the behaviour calls it, such as ``tree``.
        """
        answer = self.answer_of(name, self.seeds[0])
        return next((shown.tensors for shown in answer.shown if shown.kind == kind), {}) if answer else {}

    def shows_by_itself(self) -> bool:
        """Return whether answers bring something to look at, such as a tree."""
        answers = (self.answer_of(name, self.seeds[0]) for name in self.models)
        return any(answer is not None and answer.shown for answer in answers)

    def held(self, candidate: Candidate) -> list[tuple[Answer, Answer]]:
        """Return what control and candidate answered, one pair a seed; nothing where one is missing.

        Args:
            candidate: One of the candidates.
        """
        if not candidate.control:
            return []
        names = (candidate.control, candidate.name)
        found = [(self.answer_of(names[0], seed), self.answer_of(names[1], seed)) for seed in self.seeds]
        whole = [(before, after) for before, after in found if before is not None and after is not None]
        return whole if len(whole) == len(found) else []
