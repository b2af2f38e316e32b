"""What part a model plays when others are held against it: the one list of roles."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a model is for. Its word stands in findings."""

    BASELINE = "baseline"  # the model before
    CANDIDATE = "candidate"  # a model after
    PLACEBO = "placebo"  # the baseline given the same extra training
    TWIN = "twin"  # the baseline's recipe under another seed: what retraining alone does
    SCRATCH = "scratch"  # the candidate's architecture trained from random weights
    RANDOM = "random"  # the architecture with random weights: the end of the way down
    RETEST = "retest"  # the baseline measured again with other random numbers
    RECOMPRESSED = "recompressed"  # the candidate compressed once more under another seed
    CONTROL = "control"  # any other model to hold candidates against, such as one that is only regularized


ZERO = "zero"  # no model: values themselves are tested against nothing
REGULARIZED = "weight decay"  # the name of the one control whose role is no more than that
_NOBODYS = {Role.CANDIDATE, Role.RECOMPRESSED, Role.CONTROL}
# What findings may be held against, or hold against the baseline, without a model of that name.
CONTROLS = (*(str(role) for role in Role if role not in _NOBODYS), REGULARIZED, ZERO)
