"""The first answers say what is shown: nothing that nobody decided, nothing that is not in the record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from whatelse.findings.answers import Answer, answers
from whatelse.findings.record import Finding, Findings, Part, Parts
from whatelse.testing import surfaces

BASE = surfaces.findings()
WORSE = BASE.findings[0]
KEPT = replace(WORSE, id="kept", row="kept", verdict="unchanged", label="calibration", effect=0.0, low=-0.01, high=0.01)
OPEN = replace(
    KEPT, id="open", row="open", verdict="inconclusive", label="attack", needed=6814, unit_of_analysis="record"
)


def asked(*found: Finding, **more: Any) -> Findings:
    rows = tuple(replace(BASE.rows[0], name=name) for name in dict.fromkeys(f.row for f in found))
    return replace(BASE, findings=found, claims=(), rows=rows or BASE.rows, **more)


def only(*found: Finding) -> Answer:
    (one,) = answers(asked(*found))
    return one


@pytest.mark.parametrize(
    ("found", "verdict", "ship"),
    [
        ((WORSE, KEPT, OPEN), "worsened", "Shown worse in 1 of 3 questions; 1 more is open."),
        ((WORSE, KEPT), "worsened", "Shown worse in 1 of 2 questions; none is open."),
        ((KEPT, OPEN), "inconclusive", "Nothing is shown worse, but 1 of 2 questions is open: that is not a pass."),
        ((KEPT,), "unchanged", "Nothing is shown worse and nothing is open, in 1 question."),
        ((), "inconclusive", "Nothing was asked of it: nothing is known."),
    ],
)
def test_whether_it_may_ship_is_answered_by_what_is_shown(found: tuple[Finding, ...], verdict: str, ship: str) -> None:
    one = only(*found)
    assert (one.verdict, one.ship) == (verdict, ship)
    assert not {"GO", "NO-GO", "pass.", "safe"} & set(one.ship.replace("not a pass.", "").split())


@pytest.mark.parametrize("verdict", ["not measurable", "not trusted", "failed", "inconclusive"])
def test_whatever_has_no_answer_is_open(verdict: Any) -> None:
    one = only(KEPT, replace(OPEN, verdict=verdict, why="because"))
    assert [left.verdict for left in one.open] == [verdict]
    assert one.verdict == "inconclusive"


def test_a_doubt_that_can_only_hide_harm_leaves_it_worse_where_it_is_shown_and_open_where_it_is_not() -> None:
    doubt = {"doubts": ("attack too weak",), "verdict_if_one_sided": "worsened"}
    one = only(replace(WORSE, **doubt))
    assert one.verdict == "worsened"
    assert [lost.what for lost in one.worse] == ["accuracy"]
    assert one.open == ()
    # Verdicts leave what is shown worse: what is not trusted was not, and may even look better.
    one = only(replace(KEPT, **doubt, verdict="not trusted"))
    assert one.worse == ()
    assert [left.verdict for left in one.open] == ["not trusted"]
    assert "Shown worse" not in one.ship


def test_what_got_worse_comes_worst_first_with_its_interval() -> None:
    mild = replace(WORSE, id="mild", row="mild", label="mild", margin=0.05)
    exact = replace(WORSE, id="exact", row="exact", label="exact", margin=0.0)
    one = only(exact, mild, WORSE)
    assert [lost.what for lost in one.worse] == ["accuracy", "mild", "exact"]
    assert [lost.margins for lost in one.worse] == [
        "at least 3.0 times its margin",
        "at least 1.2 times its margin",
        "",
    ]
    assert (one.worse[0].effect, one.worse[0].ends) == ("−10 pp", "(−14 to −6 pp)")


def test_it_names_the_groups_that_lost_most_and_no_others() -> None:
    parts = (
        Part("old", 0.9, 0.6, -0.3, -0.5, -0.1, 0.01, n=20),
        Part("young", 0.9, 0.7, -0.2, -0.22, -0.18, 0.01, n=400),
        Part("by chance", 0.9, 0.5, -0.4, -0.8, -0.3, 0.2),
        Part("better", 0.9, 0.95, 0.05, 0.04, 0.06, 0.01),
        Part("empty"),
    )
    layers = replace(KEPT, id="layers", row="layers", parts=Parts("layer", parts))
    one = only(layers, replace(WORSE, parts=Parts("group", parts)))
    ((heading, hit),) = one.whom
    assert heading == "groups, accuracy"
    assert [(p.what, p.effect, p.ends, p.n) for p in hit] == [
        ("young", "−20 pp", "(−22 to −18 pp)", "n = 400"),
        ("old", "−30 pp", "(−50 to −10 pp)", "n = 20"),
    ]


def test_what_settles_it_is_said_in_the_unit_that_is_counted() -> None:
    seeds = replace(OPEN, id="s", row="s", needed=50, needed_seeds=9)
    one = only(OPEN, seeds)
    assert "About 6,814 examples would settle it (now 200)." in one.open[1].why
    assert "Measure about 6,814 records and 9 seeds for what is open." in one.next


def ladder(*worse: int) -> Findings:
    """Three levels of one kind of compression, mild to strong, each with so many questions shown worse."""
    models = [replace(BASE.candidates[1], name=f"level {i}", knob=0.3 * i) for i in range(3)]
    found = [
        replace(WORSE if at < n else KEPT, id=f"{i} {at}", row=f"r{at}", candidate=f"level {i}", label=f"q{at}")
        for i, n in enumerate(worse)
        for at in range(3)
    ]
    return asked(*found, candidates=(BASE.candidates[0], *models))


def test_the_milder_level_to_try_is_the_nearest_that_is_shown_worse_in_fewer_questions() -> None:
    mild, mid, strong = answers(ladder(0, 1, 3))
    assert not any("level" in step for step in mild.next)
    assert "The next milder level, level 0, is shown worse in 0." in mid.next
    assert "The next milder level, level 1, is shown worse in 1." in strong.next
    assert strong.next[0] == "Q0 binds: at least 3.0 times its margin is lost."


def test_where_no_level_helps_it_says_so() -> None:
    mild, mid, _ = answers(ladder(1, 1, 1))
    assert "It is the mildest level measured here: measure a milder one." in mild.next
    assert any("No milder level measured here" in step for step in mid.next)


def test_without_a_ladder_another_model_is_named_only_where_it_is_shown_worse_less() -> None:
    models = [replace(c, knob=None, name=c.name) for c in ladder(2, 0, 0).candidates]
    first, *_ = answers(replace(ladder(2, 0, 0), candidates=tuple(models)))
    assert "level 1 is shown worse in 0." in first.next
    (one,) = answers(asked(WORSE, candidates=(BASE.candidates[0], replace(BASE.candidates[1], knob=None))))
    assert any(step.startswith("Compress it less") for step in one.next)


def test_questions_that_explore_are_counted_and_do_not_weigh() -> None:
    one = only(KEPT, replace(WORSE, primary=False))
    assert one.verdict == "unchanged"
    assert one.beside == "Of 1 question that only explore, 1 is shown worse."


@pytest.mark.known_answer
def test_what_was_gained_is_told_as_a_share_of_the_baseline() -> None:
    assert only(KEPT).smaller == "It has 62 % of the bytes, 100 % of the parameters of the baseline."
