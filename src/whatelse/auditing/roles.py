"""Who takes part in an audit: models by name, each with the part that it plays."""

from __future__ import annotations

from dataclasses import dataclass

from whatelse.findings.roles import ZERO, Role

__all__ = ["ZERO", "Actor", "Role"]


@dataclass(frozen=True)
class Actor:
    """A model by its name, with the part that it plays.

    Attributes:
        name: How findings call it.
        role: Its part.
        of: The candidate that it is the control of; empty where it serves all of them.
    """

    name: str
    role: Role
    of: str = ""
