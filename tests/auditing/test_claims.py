import pytest

from whatelse.auditing import claims
from whatelse.auditing.inquiry import Inquiry
from whatelse.auditing.questions import Claim, Expectation, Measurement
from whatelse.auditing.roles import Role
from whatelse.auditing.verdicts import Decided
from whatelse.findings.record import Candidate, Finding

ASKED = Inquiry(
    name="s",
    title="s",
    description="",
    text="",
    draws=100,
    seeds=(0,),
    rows=(),
    measurements=(Measurement("row", "generalization.accuracy", ["clean"], 0.01, "accuracy"),),
    tasks={},
    actors=(),
)
# A control of the same family is no candidate.
MODELS = [Candidate(n, "prune", Role.CANDIDATE, "") for n in "abc"] + [Candidate("d", "prune", Role.SCRATCH, "")]


def finding(i, name, verdict, effect, floor):
    return Finding(
        id=f"f{i}",
        row="row",
        behaviour="generalization.accuracy",
        label="accuracy",
        task="clean",
        candidate=name,
        control="placebo",
        primary=True,
        verdict=verdict,
        unit="accuracy",
        better="higher",
        effect=effect,
        floor=floor,
    )


def outcome(verdicts, direction="worse", *, effect=-0.2, floor=0.1, some=False, agreement=False):
    made = [*zip("abc", verdicts, strict=True), ("d", "improved")]
    findings = tuple(finding(i, name, verdict, effect, floor) for i, (name, verdict) in enumerate(made))
    expectation = Expectation(direction, "accuracy", families=["prune"], some=some)
    found = Decided(findings, frozenset(f.id for f in findings if agreement))
    return claims.judge(Claim("row", "All do.", "x", "y", [expectation]), ASKED, found, MODELS)


@pytest.mark.parametrize(
    ("verdicts", "direction", "expected"),
    [
        (["worsened"] * 3, "worse", "supported"),
        (["unchanged"] * 3, "worse", "contradicted"),
        (["improved", "unchanged", "improved"], "not worse", "supported"),
        (["worsened", "unchanged", "inconclusive"], "worse", "level-dependent"),
        (["inconclusive", "not trusted", "not measurable"], "worse", "indistinguishable"),
        (["inconclusive", "inconclusive", "worsened"], "worse", "supported"),
        (["worsened", "improved", "improved"], "better", "level-dependent"),
        (["unchanged", "worsened", "unchanged"], "not better", "supported"),
    ],
)
def test_the_outcome_follows_the_verdicts(verdicts, direction, expected):
    assert outcome(verdicts, direction).outcome == expected


def test_a_move_inside_the_noise_of_retraining_is_no_support():
    assert outcome(["worsened"] * 3, effect=-0.05).outcome == "indistinguishable"


def test_a_move_inside_the_noise_is_no_evidence_against_either():
    assert outcome(["improved"] * 3, effect=0.05).outcome == "indistinguishable"
    assert outcome(["improved"] * 3, effect=0.2).outcome == "contradicted"


def test_agreement_below_the_placebos_counts_and_says_what_retraining_does():
    found = outcome(["worsened"] * 3, effect=-0.05, agreement=True)
    assert found.outcome == "supported"
    assert "3 of the worsened moved less than a network that is merely trained again" in found.reason


def test_a_claim_that_something_can_happen_needs_one_case():
    assert outcome(["improved", "worsened", "worsened"], "better", some=True).outcome == "supported"
    assert outcome(["unchanged", "worsened", "worsened"], "better", some=True).outcome == "contradicted"


def test_the_findings_are_named():
    found = outcome(["worsened", "unchanged", "inconclusive"])
    assert found.because == ("f0", "f1", "f2")
    assert found.reason.startswith("of 3 predictions 1 hold, 1 fail, 1 stay open")


def test_a_claim_without_predictions_is_not_measured():
    assert claims.judge(Claim("row", "?", "x", "y", []), ASKED, Decided((), frozenset()), []).outcome == "not measured"
