import math

import numpy as np
import pytest

from whatelse.errors import BudgetError, FindingsError
from whatelse.statistics import counts

Z05, Z05_POWER = 1.6448536, 2.4864749


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("effect", "better", "most", "decision", "verdict"),
    [
        # Standard error .01: the bounds lie .0164 on both sides of the harm.
        (-0.01, "higher", 0.03, "within", "GO"),
        (-0.01, "higher", 0.02, "undecided", "INCONCLUSIVE"),
        (-0.06, "higher", 0.03, "exceeded", "NO-GO"),
        (0.06, "higher", 0.03, "within", "GO"),
        (0.01, "lower", 0.03, "within", "GO"),
        (0.06, "lower", 0.03, "exceeded", "NO-GO"),
        (-0.06, "lower", 0.03, "within", "GO"),
        (0.0, "higher", 0.0, "undecided", "INCONCLUSIVE"),
        (0.0, "lower", 0.0165, "within", "GO"),
    ],
)
def test_the_bound_decides_whichever_way_the_unit_runs(world, effect, better, most, decision, verdict):
    (answer,), got = world.one(world.finding(effect, 0.01, better=better, primary=True), most=most)
    assert (answer.decision, got) == (decision, verdict)


@pytest.mark.known_answer
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_bound_exactly_at_the_budget_keeps_it_and_one_above_does_not(world, better):
    tail = [0.05, -0.25, 0.125] if better == "lower" else [0.05, -0.125, 0.25]
    exact = world.finding(0.0, better=better, primary=True, tails=[tail])
    assert world.one(exact, most=0.125)[1] == "GO"
    assert world.one(exact, most=0.1249)[1] == "INCONCLUSIVE"
    tail = [0.0005, 0.125, 0.5] if better == "lower" else [0.0005, -0.5, -0.125]
    exact = world.finding(0.25 if better == "lower" else -0.25, better=better, primary=True, tails=[tail])
    assert world.one(exact, most=0.125)[1] == "INCONCLUSIVE", "not beyond the budget"
    assert world.one(exact, most=0.1249)[1] == "NO-GO"


@pytest.mark.known_answer
def test_nothing_lost_and_nothing_uncertain_keeps_even_a_budget_of_zero(world):
    exact = world.finding(0.0, 0.0, unit="bytes", better="lower", primary=True)
    assert world.one(exact, most=0)[1] == "GO"
    (answer,), verdict = world.one(world.finding(1.0, 0.0, unit="bytes", better="lower", primary=True), most=0)
    assert (answer.decision, verdict) == ("exceeded", "NO-GO")


@pytest.mark.known_answer
def test_ten_examples_without_a_flip_never_go(world):
    # Nothing happened in 10 examples: .05^(1/10) = .741, so up to .26 may happen (the rule of three says .3).
    few = world.finding(0.0, n=10, primary=True, tails=[[0.05, -0.3, 0.3], [0.025, -0.3, 0.3]])
    (answer,), verdict = world.one(few, most=0.01)
    assert (answer.decision, verdict) == ("undecided", "INCONCLUSIVE")


@pytest.mark.known_answer
def test_holm_prevents_a_no_go_that_an_uncorrected_rule_would_give(world):
    # One question is exceeded at level .025 and not at .01; seven others show nothing. Holm: .025 * 8 = .2.
    found = [world.finding(-0.021, 0.01, label="a", behaviour="generalization.gap")]
    found += [world.finding(0.0, 0.01, label=f"b{at}") for at in range(7)]
    budgets = '[[budgets]]\nlabel = "a"\nmost = 0\ntier = "supporting"\n'
    budgets += "".join(f'[[budgets]]\nlabel = "b{at}"\nmost = 0.05\n' for at in range(7))
    gate = world.gate(budgets, *found)
    first = gate.rulings[0].answers[0]
    assert (first.decision, first.p, gate.verdict) == ("undecided", 0.025, "GO")
    assert first.adjusted_p == pytest.approx(0.2)
    alone, verdict = world.one(world.finding(-0.021, 0.01, primary=True), most=0)
    assert (alone[0].decision, verdict) == ("exceeded", "NO-GO")
    # An advisory question does not count: with six advisory ones the family is of two, .025 * 2 = .05.
    advisory = budgets.replace("most = 0.05\n", 'most = 0.05\ntier = "advisory"\n', 6)
    assert world.gate(advisory, *found).verdict == "NO-GO"


@pytest.mark.known_answer
def test_all_groups_of_a_budget_weigh_as_much_as_one_whole(world):
    groups = [world.part(name, 0.0, 0.001, n=100) for name in "abcdefg"]
    groups[0] = world.part("a", -0.0245, 0.01, n=100)  # beyond 0 at level .01
    whole = world.finding(-0.021, 0.01, primary=True, parts={"kind": "group", "items": groups})
    answers, verdict = world.one(whole, most=0.0, groups=["*"])
    assert len(answers) == 8
    # The whole weighs 1 and each group 1/7, of 2 in all: .025 * 2; what is left then is 1: .01 * 7 * 1.
    assert answers[0].adjusted_p == pytest.approx(0.05)
    assert answers[1].p == 0.01
    assert answers[1].adjusted_p == pytest.approx(0.07)
    assert [a.decision for a in answers[:2]] == ["exceeded", "undecided"]
    assert verdict == "NO-GO"


def test_many_classes_do_not_silence_another_question(world):
    classes = [world.part(f"class {c}", 0.0, 0.02, n=50) for c in range(500)]
    found = [
        world.finding(0.0, 0.001, label="macro", parts={"kind": "class", "items": classes}),
        world.finding(-0.05, 0.01, label="auc"),
    ]
    text = '[[budgets]]\nlabel = "macro"\nmost = 0.02\ngroups = ["*"]\ngroups_tier = "supporting"\n'
    gate = world.gate(text + '[[budgets]]\nlabel = "auc"\nmost = 0.01\ntier = "supporting"\n', *found)
    assert gate.rulings[0].answers[-1].decision == "exceeded"
    assert gate.verdict == "NO-GO"


@pytest.mark.known_answer
def test_a_group_must_keep_the_budget_too(world):
    items = [world.part("men", 0.0, 0.001, n=600), world.part("women", -0.05, 0.001, n=400)]
    whole = world.finding(-0.02, 0.001, primary=True, parts={"kind": "group", "items": items})
    assert world.one(whole, most=0.03)[1] == "GO"
    answers, verdict = world.one(whole, most=0.03, groups=["women"])
    assert [(a.question.group, a.decision) for a in answers] == [("", "within"), ("women", "exceeded")]
    assert verdict == "NO-GO"
    assert world.one(whole, most=0.03, groups=["men"])[1] == "GO"
    assert world.one(whole, most=0.03, groups=["*"])[1] == "NO-GO"


def test_a_small_group_that_cannot_be_told_keeps_a_go_away_unless_it_is_waived(world):
    items = [world.part("many", 0.0, 0.001, n=30), world.counted("few", 0, 0, 29)]
    whole = world.finding(-0.002, 0.001, primary=True, parts={"kind": "group", "items": items})
    answers, verdict = world.one(whole, most=0.01, groups=["*"])
    assert [a.decision for a in answers] == ["within", "within", "undecided"]
    assert answers[2].why == "29 examples: none lost, none gained"
    assert answers[2].settle == "about 299 examples (now 29)", "(1 - .01)^299 < .05"
    assert verdict == "INCONCLUSIVE"
    answers, verdict = world.one(whole, most=0.01, groups=["*"], least=30)
    assert [a.decision for a in answers] == ["within", "within", "too few"]
    assert answers[2].why == "waived: 29 examples, fewer than 30; 29 examples: none lost, none gained"
    assert verdict == "GO"
    assert world.one(whole, most=0.01, groups=["*"], groups_tier="supporting")[1] == "GO"


@pytest.mark.known_answer
@pytest.mark.parametrize(("n", "lost", "decision"), [(25, 25, "exceeded"), (9, 9, "exceeded"), (4, 4, "undecided")])
@pytest.mark.parametrize("least", [0, 30])
@pytest.mark.parametrize("tier", ["critical", "supporting", "advisory"])
def test_harm_to_a_group_counts_however_small_it_is(world, n, lost, decision, least, tier):
    """All of n lost: of a model that loses two points more than it gains, with chance .51^n at most."""
    items = [world.part("many", 0.0, 0.001, n=900), world.counted("few", 0, lost, n)]
    whole = world.finding(-0.002, 0.001, primary=True, parts={"kind": "group", "items": items})
    answers, verdict = world.one(whole, most=0.02, groups=["*"], least=least, groups_tier=tier)
    expected = "too few" if least and decision == "undecided" else decision
    assert answers[2].decision == expected
    assert f"{n} examples: {lost} lost, none gained" in answers[2].why
    open_ = {"exceeded": "NO-GO", "undecided": "INCONCLUSIVE" if tier == "critical" else "GO", "too few": "GO"}
    assert verdict == ("GO" if tier == "advisory" else open_[expected])
    if expected == "undecided":
        assert answers[2].settle.endswith("; it leans beyond the budget")
        assert int(answers[2].settle.split()[1]) in range(5, 12)


@pytest.mark.known_answer
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_what_is_lost_and_gained_goes_by_the_better_side(world, better):
    part = world.counted("few", 7, 1, 40)
    parts = {"kind": "group", "items": [part], "better": better}
    answers, _ = world.one(world.finding(primary=True, parts=parts), most=0.02, groups=["*"])
    assert answers[1].why == (
        "40 examples: 1 lost, 7 gained" if better == "higher" else "40 examples: 7 lost, 1 gained"
    )


def test_a_group_without_a_test_example_is_named_and_cannot_be_told(world):
    items = [world.part("many", 0.0, 0.001, n=900), {"name": "gone", "n": 0}]
    whole = world.finding(-0.002, 0.001, primary=True, parts={"kind": "group", "items": items})
    answers, verdict = world.one(whole, most=0.02, groups=["*"])
    assert (answers[2].decision, answers[2].why, answers[2].settle) == (
        "undecided",
        "no test example",
        "about 149 examples",
    )
    assert verdict == "INCONCLUSIVE"
    answers, verdict = world.one(whole, most=0.02, groups=["*"], least=1)
    assert (answers[2].decision, answers[2].why) == ("too few", "waived: no test example, fewer than 1")
    assert verdict == "GO"


def test_a_group_too_small_for_an_interval_is_named(world):
    items = [world.part("many", 0.0, 0.001, n=900), {"name": "few", "effect": -1.0, "n": 2}]
    whole = world.finding(-0.002, 0.001, primary=True, parts={"kind": "group", "items": items})
    answers, verdict = world.one(whole, most=0.02, groups=["*"])
    assert (answers[2].decision, answers[2].why) == ("undecided", "2 examples, too few for an interval")
    assert verdict == "INCONCLUSIVE"
    broken = {**whole, "doubts": ["small answers 2 of 900 examples with NaN"], "verdict": "not trusted"}
    answers, _ = world.one(broken, most=0.02, groups=["*"])
    assert answers[2].why == "2 examples; not trusted: small answers 2 of 900 examples with NaN"


def test_parts_are_asked_where_the_number_itself_is_not_measurable(world):
    """Every group is small: there is no number, and a lost group counts all the same."""
    items = [world.counted("a", 0, 0, 20), world.counted("b", 0, 20, 20)]
    parts = {"kind": "group", "items": items}
    small = world.finding(
        None, verdict="not measurable", why="0 of 2 groups are large enough", primary=True, parts=parts
    )
    anchor = world.finding(0.0, 0.001, label="anchor", behaviour="generalization.brier")
    text = '[[budgets]]\nlabel = "anchor"\nmost = 1\n[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.02\n'
    text += 'groups = ["*"]\ndemanded = false\n'
    gate = world.gate(text, anchor, small)
    assert [a.decision for a in gate.rulings[0].answers] == ["within", "not asked", "undecided", "exceeded"]
    assert gate.verdict == "NO-GO"
    items[1] = world.counted("b", 0, 0, 20)
    assert world.gate(text, anchor, small).verdict == "INCONCLUSIVE"


def test_what_the_data_do_not_have_is_passed_over_unless_it_is_demanded_or_broke(world):
    anchor = world.finding(0.0, 0.001, label="anchor", behaviour="generalization.brier")
    text = '[[budgets]]\nlabel = "anchor"\nmost = 1\n[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.02\n'
    text += 'groups = ["*"]\n'
    none = world.finding(None, verdict="not measurable", why="needs groups; task t has none", primary=True)
    broke = world.finding(None, verdict="failed", why="RuntimeError", primary=True)
    for found, demanded, decision, verdict in (
        (none, "false", "not asked", "GO"),
        (none, "true", "missing", "INCONCLUSIVE"),
        (broke, "false", "missing", "INCONCLUSIVE"),
    ):
        gate = world.gate(f"{text}demanded = {demanded}\n", anchor, found)
        assert gate.rulings[0].answers[1].decision == decision
        assert gate.verdict == verdict
    gate = world.gate(f'{text}demanded = false\ntier = "supporting"\n', anchor, broke)
    assert gate.verdict == "GO", "what is supporting does not keep a go away"


def test_what_is_doubted_of_the_number_is_not_doubted_of_its_parts(world):
    items = [world.counted("few", 0, 25, 25)]
    for doubt in (
        "of 900 examples this summary is biased by more than its standard error",
        "implausible gain of 20 pp",
    ):
        doubted = {"doubts": [doubt], "verdict": "not trusted", "primary": True}
        whole = world.finding(0.0, 0.001, parts={"kind": "group", "items": items}, **doubted)
        answers, verdict = world.one(whole, most=0.02, groups=["*"])
        assert [a.decision for a in answers] == ["undecided", "exceeded"]
        assert verdict == "NO-GO"
    whole = world.finding(0.0, doubts=["NaN"], verdict="not trusted", parts={"kind": "group", "items": items})
    assert world.one(whole, most=0.02, groups=["*"])[0][1].decision == "undecided"


def test_a_gain_is_believed_of_a_group(world):
    items = [world.counted("few", 20, 0, 25)]
    whole = world.finding(0.0, 0.001, primary=True, parts={"kind": "group", "items": items})
    answers, _ = world.one(whole, most=0.02, gain=0.05, groups=["*"])
    assert answers[1].decision == "within"


def test_a_group_that_is_not_there_is_missing_with_the_nearest_name(world):
    items = [world.part("women", 0.0, 0.001, n=100)]
    whole = world.finding(primary=True, parts={"kind": "group", "items": items})
    answers, verdict = world.one(whole, most=0.01, groups=["womem"])
    assert (answers[1].decision, verdict) == ("missing", "INCONCLUSIVE")
    assert "did you mean women" in answers[1].why
    answers, verdict = world.one(world.finding(primary=True), most=0.01, groups=["*"])
    assert (answers[1].why, verdict) == ("no parts are in the findings", "INCONCLUSIVE")


def test_parts_have_their_own_unit_and_side(world):
    items = [world.part("a", 0.05, 0.001, n=100)]
    parts = {"kind": "group", "items": items, "unit": "error rate", "better": "lower"}
    answers, _ = world.one(world.finding(primary=True, parts=parts), most=0.01, groups=["*"])
    assert answers[1].decision == "exceeded"
    assert any("error rate" in note for note in answers[1].notes)
    answers, verdict = world.one(
        world.finding(primary=True, parts={**parts, "better": "neither"}), most=0.01, groups=["*"]
    )
    assert (answers[1].decision, verdict) == ("missing", "INCONCLUSIVE")
    assert "no better side" in answers[1].why


def test_a_group_whose_size_is_not_recorded_is_held_to_its_bounds(world):
    whole = world.finding(primary=True, parts={"kind": "layer", "items": [world.part("a", -0.5, 0.001)]})
    answers, verdict = world.one(whole, most=0.01, groups=["a"])
    assert (answers[1].decision, verdict) == ("exceeded", "NO-GO")
    assert answers[1].notes == ("how many examples the group has is not recorded",)
    empty = {"name": "b", "effect": None}
    whole = world.finding(primary=True, parts={"kind": "group", "items": [empty]})
    assert world.one(whole, most=0.01, groups=["*"])[0][1].decision == "too few"
    assert world.one(whole, most=0.01, groups=["b"])[0][1].decision == "missing"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"verdict": "failed", "why": "RuntimeError: boom", "effect": None}, "failed: RuntimeError: boom"),
        ({"verdict": "not measurable", "why": "needs gradients", "effect": None}, "not measurable: needs gradients"),
        ({"effect": None}, "there is no interval"),
        ({"tails": [], "low": None, "high": None, "low90": None, "high90": None}, "there is no interval"),
    ],
)
def test_what_has_no_number_is_missing_with_the_reason(world, given, said):
    (answer,), verdict = world.one(world.finding(primary=True, **given), most=0.01)
    assert (answer.decision, verdict) == ("missing", "INCONCLUSIVE")
    assert said in answer.why


def test_a_nan_in_memory_is_missing_too(world):
    from dataclasses import replace

    from whatelse.findings.record import parse
    from whatelse.gate.degradation import harm

    made = parse(world.document(world.finding(primary=True))).findings[0]
    assert harm(made, "higher") is not None
    assert harm(replace(made, effect=float("nan")), "higher") is None
    assert harm(replace(made, tails=((0.05, float("-inf"), 0.1),)), "higher") is None


@pytest.mark.known_answer
def test_without_tails_the_intervals_are_taken(world):
    made = world.finding(-0.01, 0.01, primary=True, tails=[])
    assert world.one(made, most=0.0265)[1] == "GO", "the 90 % interval ends at .02645"
    assert world.one(made, most=0.0264)[1] == "INCONCLUSIVE"
    only95 = {**made, "low90": None, "high90": None}
    assert world.one(only95, most=0.0265)[1] == "INCONCLUSIVE"
    assert world.one(only95, most=0.0296)[1] == "GO", "the 95 % interval ends at .0296"
    found = [world.finding(-0.5, 0.01, label="a", tails=[]), *(world.finding(label=f"b{at}") for at in range(3))]
    text = "".join(f'[[budgets]]\nlabel = "{f["label"]}"\nmost = 0.1\n' for f in found)
    answer = world.gate(text, *found).rulings[0].answers[0]
    assert answer.decision == "undecided"
    assert "bounds at levels stricter than 0.025" in answer.settle


def test_what_is_not_trusted_is_undecided_with_the_doubt(world):
    doubted = {"doubts": ["masked gradient"], "verdict": "not trusted", "primary": True}
    for effect in (0.0, -0.5):
        (answer,), verdict = world.one(world.finding(effect, **doubted), most=0.01)
        assert (answer.decision, verdict) == ("undecided", "INCONCLUSIVE")
        assert answer.why == "not trusted: masked gradient"
        assert answer.settle == "a measurement that passes its own checks"
    (answer,), _ = world.one(world.finding(0.0, verdict="not trusted", validity=["old", "older"], primary=True), most=1)
    assert answer.why == "not trusted: old (and 1 doubts more)"


def test_doubts_that_only_flatter_the_candidate_leave_a_loss_a_loss(world):
    flattered = {"doubts": ["attack too weak"], "verdict_if_one_sided": "worsened", "primary": True}
    assert world.one(world.finding(-0.5, verdict="worsened", **flattered), most=0.01)[1] == "NO-GO"
    (answer,), verdict = world.one(world.finding(-0.005, verdict="worsened", **flattered), most=0.01)
    assert (answer.decision, verdict) == ("undecided", "INCONCLUSIVE"), "it may be worse than it looks"
    other = {"doubts": ["its control: attack too weak"], "verdict_if_one_sided": "improved", "primary": True}
    assert world.one(world.finding(0.5, verdict="improved", **other), most=0.01)[1] == "GO"
    assert world.one(world.finding(-0.5, verdict="not trusted", **other), most=0.01)[1] == "INCONCLUSIVE"


@pytest.mark.known_answer
def test_a_gain_too_good_to_be_true_is_a_no_go(world):
    # Standard error .01: at level .025 the gain is at least .0196 below its estimate.
    for effect, verdict in ((0.0697, "NO-GO"), (0.0695, "GO")):
        (answer,), got = world.one(world.finding(effect, 0.01, primary=True), most=0.01, gain=0.05)
        assert got == verdict
        assert answer.decision == ("implausible gain" if verdict == "NO-GO" else "within")
    assert world.one(world.finding(0.0697, 0.01, primary=True), most=0.01)[1] == "GO", "no gain, no limit"
    lower = world.finding(-0.0697, 0.01, better="lower", primary=True)
    assert world.one(lower, most=0.01, gain=0.05)[1] == "NO-GO"


def test_the_budget_decides_on_a_gain_that_the_study_did_not_believe(world):
    doubt = ["implausible gain: shown better by more than 0.03"]
    made = world.finding(0.04, 0.001, verdict="not trusted", doubts=doubt, primary=True)
    assert world.one(made, most=0.01)[1] == "INCONCLUSIVE"
    assert world.one(made, most=0.01, gain=0.03)[1] == "NO-GO"
    assert world.one(made, most=0.01, gain=0.05)[1] == "GO"
    assert world.one({**made, "doubts": [*doubt, "masked"]}, most=0.01, gain=0.03)[1] == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("tier", "effect", "verdict"),
    [
        ("critical", -0.5, "NO-GO"),
        ("supporting", -0.5, "NO-GO"),
        ("advisory", -0.5, "GO"),
        ("critical", -0.01, "INCONCLUSIVE"),
        ("supporting", -0.01, "GO"),
        ("advisory", -0.01, "GO"),
        ("critical", None, "INCONCLUSIVE"),
        ("supporting", None, "GO"),
    ],
)
def test_tiers(world, tier, effect, verdict):
    if effect is None:
        made = world.finding(primary=True, verdict="failed", effect=None)
    else:
        made = world.finding(effect, 0.01, primary=True)
    answers, got = world.one(made, tier=tier, most=0.01)
    assert got == verdict
    assert answers[0].decision in {"exceeded", "undecided", "missing"}


def test_the_worst_candidate_decides_unless_one_is_asked_for(world):
    found = [world.finding(e, 0.01, candidate=c, primary=True) for c, e in (("a", 0.1), ("b", -0.01), ("c", -0.5))]
    text = '[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.01\n'
    gate = world.gate(text, *found, candidates="abc")
    assert [r.verdict for r in gate.rulings] == ["GO", "INCONCLUSIVE", "NO-GO"]
    assert (gate.verdict, gate.code) == ("NO-GO", 1)
    assert [world.gate(text, *found, candidates="abc", asked=[c]).code for c in "abc"] == [0, 2, 1]
    with pytest.raises(FindingsError, match="--candidate: got 'd'"):
        world.gate(text, *found, candidates="abc", asked=["d"])
    with pytest.raises(FindingsError, match="none of them has the role candidate"):
        world.gate(text, world.finding(candidate="placebo"), candidates=[])


@pytest.mark.known_answer
def test_what_would_settle_it_by_hand(world):
    (answer,), _ = world.one(world.finding(-0.01, 0.01, primary=True), most=0.02)
    # Distance .01, standard error .01: n = 1000 (z.95 + z.8)^2.
    assert answer.settle == f"about {int(1000 * Z05_POWER**2) + 1:,} test examples (now 1,000)"
    (answer,), _ = world.one(world.finding(-0.03, 0.01, primary=True), most=0.02)
    assert (
        answer.settle == f"about {int(1000 * Z05_POWER**2) + 1:,} test examples (now 1,000); it leans beyond the budget"
    )
    (answer,), _ = world.one(world.finding(-0.01, 0.01, primary=True, needed=None, needed_seeds=9), most=0.02)
    assert answer.settle == f"about {int(5 * Z05_POWER**2) + 1} seeds (now 5), which vary most"
    (answer,), _ = world.one(world.finding(-0.02, 0.01, primary=True), most=0.02)
    assert answer.settle == "no number of examples can: the harm is the budget"
    each = [-0.03, 0.01, -0.03, 0.01, -0.01]  # t(4) .0277 around the mean: nearly all of the variance
    (answer,), _ = world.one(world.finding(-0.01, 0.01, primary=True, needed=None, per_seed=each), most=0.02)
    assert "seeds (now 5)" in answer.settle


def test_notes(world):
    (answer,), verdict = world.one(world.finding(primary=True, floor=0.03, seeds=1), most=0.01)
    assert answer.notes == (
        "budget below the noise floor (±3.0 pp): retraining the baseline would fail it too",
        "one seed: speaks for these two checkpoints only",
    )
    assert verdict == "GO", "a note does not decide"
    (answer,), verdict = world.one(world.finding(-0.015, 0.001, primary=True, floor=0.03), most=0.01)
    assert verdict == "NO-GO", "the floor never loosens the budget"


def test_the_floors_of_compressing_and_of_measuring_are_noted(world):
    floors = {"measurement": 0.02, "compression": 0.005}
    (answer,), verdict = world.one(world.finding(primary=True, floors=floors), most=0.01)
    assert answer.notes == ("budget below the noise floor (±2.0 pp): measuring the baseline again may move it further",)
    (answer,), verdict = world.one(world.finding(primary=True, floors={**floors, "compression": 0.04}), most=0.03)
    assert answer.notes[0].endswith("(±4.0 pp): compressing once more under another seed may move it further")
    assert verdict == "GO"


def test_the_primary_measurement_is_meant_and_otherwise_a_label_is_needed(world):
    found = [world.finding(-0.5, label="canvas"), world.finding(0.0, label="accuracy", primary=True)]
    assert world.one(*found, most=0.01)[1] == "GO"
    assert world.one(*found, most=0.01, label="canvas")[1] == "NO-GO"
    several = [world.finding(label="canvas"), world.finding(label="accuracy")]
    with pytest.raises(BudgetError, match=r"b.toml: budgets\[0\]: .*set label to one of 'canvas', 'accuracy'"):
        world.one(*several, most=0.01)
    assert world.one(several[0], most=0.01)[1] == "GO", "the only one is meant, too"


def test_the_task_and_the_control(world):
    found = [
        world.finding(0.0, primary=True),
        world.finding(-0.5, task="noisy"),
        world.finding(-0.5, control="twin", leading=False),
    ]
    assert world.one(*found, most=0.01)[1] == "GO"
    assert world.one(*found, most=0.01, task="noisy")[1] == "NO-GO"
    assert world.one(*found, most=0.01, control="twin")[1] == "NO-GO"
    second = [world.finding(-0.5, control="twin", leading=False), world.finding(0.0)]
    assert world.one(*second, most=0.01)[1] == "GO", "the candidate's own control, whichever stands first"
    (answer,), verdict = world.one(*found, most=0.01, control="scratch")
    assert (answer.why, verdict) == ("not held against scratch on this candidate", "INCONCLUSIVE")
    (answer,), verdict = world.one(found[0], most=0.01, task="noisy")
    assert (answer.why, verdict) == ("not measured on the task noisy", "INCONCLUSIVE")
    with pytest.raises(BudgetError, match=r"budgets\[0\].task: no 'noisi' in the findings; did you mean noisy"):
        world.one(*found, most=0.01, task="noisi")


def test_what_was_demanded_and_not_measured_is_missing(world):
    made = world.finding(primary=True)
    text = '[[budgets]]\nlabel = "accuracy"\nmost = 0.1\n[[budgets]]\nbehaviour = "fairness.gap"\nmost = 0.1\n'
    gate = world.gate(text, made, known=["generalization.accuracy", "fairness.gap"])
    assert (gate.verdict, gate.rulings[0].answers[1].decision) == ("INCONCLUSIVE", "missing")
    gate = world.gate(text + "demanded = false\n", made)
    assert (gate.verdict, gate.rulings[0].answers[1].decision) == ("GO", "not asked")
    (answer,), verdict = world.one(made, most=0.1, label="acuracy")
    assert (answer.decision, verdict) == ("missing", "INCONCLUSIVE")
    assert "did you mean accuracy" in answer.why
    with pytest.raises(BudgetError, match=r"budgets\[1\].behaviour: no 'fairness.gap'; there are"):
        world.gate(text, made, known=["generalization.accuracy"])


def test_what_is_not_demanded_is_asked_where_it_is_primary_or_named(world):
    anchor = world.finding(label="anchor", behaviour="generalization.brier", primary=True)
    text = '[[budgets]]\nlabel = "anchor"\nmost = 1\n[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.01\n'
    lost = world.finding(-0.5, row="overfitting")
    assert world.gate(f"{text}demanded = false", anchor, lost).verdict == "GO", "secondary numbers do not decide"
    assert world.gate(f'{text}demanded = false\nlabel = "accuracy"', anchor, lost).verdict == "NO-GO"
    assert world.gate(text, anchor, lost).verdict == "NO-GO"
    # Measured on another candidate: somebody asked, so that it is missing here.
    here = world.finding(candidate="b", label="anchor", behaviour="generalization.brier")
    other = world.finding(0.0, primary=True, candidate="b")
    gate = world.gate(f"{text}demanded = false", {**anchor, "primary": False}, here, other, candidates=["small", "b"])
    assert [r.verdict for r in gate.rulings] == ["INCONCLUSIVE", "GO"]


def test_a_gate_that_asked_nothing_critical_does_not_go(world):
    text = '[[budgets]]\nbehaviour = "fairness.gap"\nmost = 0.1\ndemanded = false\n'
    gate = world.gate(text, world.finding(primary=True))
    assert (gate.verdict, gate.rulings[0].because) == ("INCONCLUSIVE", ())


def mean_of_classes(lost):
    """Two classes, of 3,995 examples and of 5, of which so many are lost: what a study writes of their mean."""
    changes = [np.zeros(3995), np.array([-1.0] * lost + [0.0] * (5 - lost))]
    made = counts.averaged(1.0, 1.0 - lost / 10, changes)._asdict()
    return {k: made[k] for k in ("effect", "low", "high", "low90", "high90", "rose", "fell")} | {
        "tails": [list(tail) for tail in made["tails"]]
    }


@pytest.mark.parametrize(("lost", "least"), [(0, 100_000), (2, 4002)])
def test_what_settles_a_mean_over_classes_is_not_that_of_a_mean_over_examples(world, lost, least):
    found = world.finding(label="macro", n=4000, **mean_of_classes(lost))
    text = '[[budgets]]\nlabel = "macro"\nmost = 0.02\n'
    (ruling,) = world.gate(text, found).rulings
    (answer,) = ruling.answers
    assert answer.decision == "undecided"
    assert int(answer.settle.split()[1].replace(",", "")) > least, answer.settle


@pytest.mark.known_answer
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_an_estimate_outside_its_bounds_is_told_what_would_settle_it(world, better):
    # A minimum over groups is biased in resamples, so that all of its bounds may lie on one side of it.
    way = -1 if better == "higher" else 1
    tails = [
        [level, *sorted((way * low, way * high))] for level, low, high in ((0.05, 0.02, 0.03), (0.001, 0.01, 0.04))
    ]
    found = world.finding(way * 0.017, label="a", better=better, n=100, tails=tails, needed=1)
    budgets = "".join(f'[[budgets]]\nlabel = "{label}"\nmost = {most}\n' for label, most in (("a", 0.015), ("b", 0.05)))
    (answer, _) = world.gate(budgets, found, world.finding(0.0, 0.01, label="b")).rulings[0].answers
    assert answer.decision == "undecided"
    # Half the width, .005, stands in for the reach of 1.645 standard errors; .002 is shown at .025 with power .8.
    need = 100 * ((1.9599640 + 0.8416212) * 0.005 / 1.6448536 / 0.002) ** 2
    assert answer.settle == f"about {math.ceil(need):,} test examples (now 100); it leans beyond the budget"


def test_more_changes_than_examples_are_not_taken_for_counts(world):
    found = world.finding(0.0, 0.02, n=10, rose=8, fell=8, primary=True)
    (answer,), verdict = world.one(found, most=0.02)
    assert (answer.decision, verdict) == ("undecided", "INCONCLUSIVE")
