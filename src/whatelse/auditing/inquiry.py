"""What was asked and of whom: all that verdicts are given by, whether a study or an audit asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from whatelse import registry
from whatelse.auditing.questions import Claim, Measurement, Row
from whatelse.auditing.roles import ZERO, Actor, Role


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
        actors: The models, the baseline first, controls and candidates in the order in which they are compared.
        beside: Models that were compared beside what `pairs` says: their findings lead nowhere.
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
    beside: tuple[Actor, ...] = ()
    claims: tuple[Claim, ...] = ()
    known: Mapping[str, Actor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", {actor.name: actor for actor in (*self.actors, *self.beside)})

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


def pairs(actors: Sequence[Actor], measurement: Measurement) -> tuple[tuple[str, str], ...]:
    """Return which model is held against which other in a measurement, the primary control first.

    Args:
        actors: The models, the baseline first.
        measurement: What is measured.
    """
    baseline = next(actor.name for actor in actors if actor.role is Role.BASELINE)
    candidates = [actor for actor in actors if actor.role is Role.CANDIDATE]
    if measurement.control == ZERO:
        return tuple((name, ZERO) for name in [baseline, *(c.name for c in candidates)])
    shared = [actor for actor in actors if not actor.of and actor.role not in {Role.BASELINE, Role.CANDIDATE}]
    found = [(actor.name, baseline) for actor in shared]
    known = [actor.name for role in (Role.TWIN, Role.CONTROL) for actor in shared if actor.role is role]
    own = {(actor.of, actor.role): actor.name for actor in actors if actor.of}
    for c in candidates:
        first = measurement.control or c.against
        found.append((c.name, first))
        others = [baseline, *known] if measurement.primary else []
        found += [(c.name, other) for other in others if other != first]
        if (c.name, Role.SCRATCH) in own and not needs_references(measurement):
            found.append((c.name, own[c.name, Role.SCRATCH]))
        if (c.name, Role.RECOMPRESSED) in own:
            found.append((own[c.name, Role.RECOMPRESSED], c.name))
    return tuple(found)


def needs_references(measurement: Measurement) -> bool:
    """Say whether a measurement needs shadow models.

    Args:
        measurement: Any measurement.
    """
    return "references" in registry.card("behaviours", measurement.item).needs
