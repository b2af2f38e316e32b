"""The record of a search: every trial against every budget, the finalists on test, and what was chosen."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Constraint:
    """One budget, or one group of it, as the search holds candidates against it.

    Attributes:
        name: How trials call it, such as ``accuracy`` or ``accuracy by group: sex=female``.
        label: Of the measurement.
        group: The group; empty of the whole.
        unit: Of the harm and of ``most``.
        most: The most harm that is accepted.
        tier: ``critical`` or ``supporting``.
        n: Examples of select that it rests on; None where that is not counted.
        confirming: Examples of test that it will rest on; likewise.
        power: The largest harm that the confirmation would still let pass with chance .8 by its examples, where nothing
            else varies; None where that is not counted.
        floor: The harm that measuring the baseline once more shows; None where it was not measured.
    """

    name: str
    label: str
    group: str
    unit: str
    most: float
    tier: str
    n: int | None = None
    confirming: int | None = None
    power: float | None = None
    floor: float | None = None


@dataclass(frozen=True)
class Trial:
    """One configuration as it was measured on select.

    Attributes:
        number: From 1, in the order of asking.
        recipe: What makes the model of the baseline.
        value: What is made small, in its unit; None where the recipe failed.
        share: The same as a share of the baseline's; likewise.
        harm: By name of a constraint the harm on select, in its unit.
        over: Likewise by how much it is exceeded as it is aimed at the confirmation, as a share of the budget.
        feasible: Whether all budgets are kept so.
        binding: The constraint that is exceeded most or, where none is, that is nearest; empty where the recipe failed.
        skipped: Constraints that were not measured, since a cheaper one decided.
        why: What went wrong where the recipe failed.
        seconds: Of making and measuring.
    """

    number: int
    recipe: str
    value: float | None
    share: float | None
    harm: dict[str, float] = field(default_factory=dict)
    over: dict[str, float] = field(default_factory=dict)
    feasible: bool = False
    binding: str = ""
    skipped: tuple[str, ...] = ()
    why: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Finalist:
    """A trial that was held against the budgets on test, in the order of the confirmation.

    Attributes:
        trial: Its number.
        verdict: ``GO``, ``NO-GO`` or ``INCONCLUSIVE``; ``not opened`` where one before it failed.
        harm: By name of a constraint the harm on test, in its unit.
        upper: Likewise its upper bound at one-sided level .05.
        because: What kept a GO away, one line each.
    """

    trial: int
    verdict: str
    harm: dict[str, float] = field(default_factory=dict)
    upper: dict[str, float] = field(default_factory=dict)
    because: tuple[str, ...] = ()


@dataclass(frozen=True)
class Searched:
    """A whole search.

    Attributes:
        whatelse: Version of the package.
        created: When it ended, ISO 8601.
        model: What opened the baseline, as it was typed.
        data: Likewise of the data.
        strategy: Name of the strategy with its settings.
        seed: Decides everything random.
        minimize: What is made small.
        unit: Of it.
        baseline: That of the baseline.
        splits: Number of examples of every split.
        space: Number of configurations, as text.
        budgets: Title of the budgets.
        constraints: What trials are held against.
        trials: In the order of asking.
        finalists: In the order of the confirmation.
        winner: Number of the trial that is chosen; 0 where none is.
        folder: Where its model was written; empty where there is none.
        nearest: Number of the trial that came nearest where none is feasible; else 0.
        remarks: What must be said beside, such as the error of a surrogate.
        seconds: By ``making``, ``measuring``, ``searching`` and ``confirming``.
    """

    whatelse: str
    created: str
    model: str
    data: str
    strategy: str
    seed: int
    minimize: str
    unit: str
    baseline: float
    splits: dict[str, int]
    space: str
    budgets: str
    constraints: tuple[Constraint, ...]
    trials: tuple[Trial, ...]
    finalists: tuple[Finalist, ...] = ()
    winner: int = 0
    folder: str = ""
    nearest: int = 0
    remarks: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
