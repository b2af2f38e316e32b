"""What was asked and of whom: all that verdicts are given by, whether a study or an audit asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from whatelse.auditing.questions import Claim, Measurement, Row
from whatelse.auditing.roles import Actor, Role


@dataclass(frozen=True)
class About:
    """What a reader is told of a task.

    Attributes:
        title: Its heading.
        description: A paragraph.
        references: How many shadow models it has.
    """

    title: str
    description: str = ""
    references: int = 0


@dataclass(frozen=True)
class Inquiry:
    """What was asked, in which words, and of which models.

    Attributes:
        name: Short name.
        title: Heading of the report.
        description: A paragraph for the reader.
        text: The file that says it.
        draws: Resamples an interval.
        seeds: One baseline each.
        rows: In the order of the table.
        measurements: What is measured; they give margins and rows.
        tasks: What is told of each, by name.
        actors: The models, each with its part.
        claims: What is tested.
    """

    name: str
    title: str
    description: str
    text: str
    draws: int
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    measurements: tuple[Measurement, ...]
    tasks: Mapping[str, About]
    actors: tuple[Actor, ...]
    claims: tuple[Claim, ...] = ()
    known: Mapping[str, Actor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", {actor.name: actor for actor in self.actors})

    def role(self, name: str) -> Role:
        """Return what part a model plays.

        Args:
            name: Of the model.
        """
        return self.known[name].role

    def called(self, control: str) -> str:
        """Return how findings call a control: by its name, or by its role where every candidate has one of its own.

        Args:
            control: Name of the model, or ``zero``.
        """
        own = control in self.known and self.role(control) is Role.SCRATCH
        return str(Role.SCRATCH) if own else control
