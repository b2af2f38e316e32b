"""Numbers and directions in words."""

from __future__ import annotations

import dataclasses

import pytest

from whatelse.findings import phrasing as words
from whatelse.findings.record import Finding, Findings, Part, Parts, Share


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (-0.0234, "accuracy", "−2.3 pp"),
        (0.0234, "error rate", "+2.3 pp"),
        (0.1234, "accuracy gap", "+12 pp"),
        (0.9999, "share", "+100 pp"),
        (0.00034, "share", "+0.034 pp"),
        (-0.0451, "AUC", "−0.045 AUC"),
        (0.0995, "cosine", "+0.10 cosine"),
        (1.55, "dB", "+1.6 dB"),
        (0.0, "accuracy", "0 pp"),
        (-1e-9, "AUC", "0 AUC"),
        (-76_000, "bytes", "−76 kB"),
        (999_700, "bytes", "+1.0 MB"),
        (-38_123, "parameters", "−38 k parameters"),
        (512, "bytes", "+512 B"),
    ],
)
def test_effects_have_sign_unit_and_two_digits(value: float, unit: str, said: str) -> None:
    assert words.signed(value, unit) == said


@pytest.mark.parametrize(
    ("low", "high", "unit", "said"),
    [
        (-0.034, -0.012, "accuracy", "−3.4 to −1.2 pp"),
        (-0.2517, -0.2458, "accuracy", "−25.2 to −24.6 pp"),
        (-0.12, 0.02, "AUC", "−0.12 to +0.02 AUC"),
        (-12.3, -0.04, "dB", "−12 to −0.040 dB"),
        (-76_000, -76_000, "bytes", "−76 kB"),
        (-76_000, -300, "bytes", "−76 kB to −300 B"),
    ],
)
def test_both_ends_of_an_interval_are_told_apart_and_from_zero(low: float, high: float, unit: str, said: str) -> None:
    assert words.interval(low, high, unit) == said


def test_levels_sizes_counts_and_chances() -> None:
    assert words.state(0.971, "accuracy") == "97.1 %"
    assert words.state(0.8534, "cosine") == "0.853 cosine"
    assert words.size(0.02, "accuracy") == "2.0 pp"
    assert words.count(2400) == "2,400"
    assert (words.chance(0.0004), words.chance(0.0312)) == ("< 0.001", "0.031")
    assert [words.plural(2, noun) for noun in ("seed", "batch", "test example")] == [
        "seeds",
        "batches",
        "test examples",
    ]


def test_long_units_are_left_out_of_narrow_cells() -> None:
    assert words.brief(-0.0451, "CKA") == "−0.045"
    assert words.brief(-0.0451, "accuracy") == "−4.5 pp"


def test_harm_is_said_for_both_directions() -> None:
    assert "negative effect is harm" in words.harm("higher")
    assert "positive effect is harm" in words.harm("lower")


@pytest.mark.parametrize("verdict", list(words.VERDICTS))
def test_every_verdict_has_signs_of_its_own(verdict: str) -> None:
    others = [sign for word, sign in words.VERDICTS.items() if word != verdict]
    sign = words.VERDICTS[verdict]
    assert sign.symbol not in {other.symbol for other in others}
    assert sign.ascii not in {other.ascii for other in others}
    assert sign.ascii.isascii()


def _of(findings: Findings, verdict: str) -> Finding:
    return next(f for f in findings.findings if f.verdict == verdict)


def test_the_reason_fits_the_verdict(findings: Findings) -> None:
    open_ = dataclasses.replace(_of(findings, "inconclusive"), needed=2400, n=900)
    assert "About 2,400 examples would settle it (now 900)" in words.reason(open_)
    assert "More examples alone would not" in words.reason(dataclasses.replace(open_, needed=None))
    assert "margin of ±" in words.reason(_of(findings, "unchanged"))
    assert "harm side" in words.reason(_of(findings, "worsened"))
    assert "better side" in words.reason(_of(findings, "improved"))
    assert words.reason(_of(findings, "not measurable")).startswith("Needs gradients")
    assert words.reason(_of(findings, "not trusted")).startswith("Masked gradient")
    assert "attack diverged" in words.reason(_of(findings, "failed"))


def test_facts_hold_everything_the_details_must_say(findings: Findings) -> None:
    names = {name for name, _ in words.facts(_of(findings, "worsened"))}
    wanted = {"Effect", "95 % interval", "Margin", "Noise floor", "Detectable", "Control", "Sample", "Validity"}
    assert wanted <= names
    assert "Validity" not in {name for name, _ in words.facts(_of(findings, "failed"))}


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, ""),
        (Share(), ""),
        (Share(0.412), "41 % of the way from random to placebo"),
        (Share(1.021, 0.984, 1.06), "102 % of the way from random to placebo (98 to 106)"),
        (Share(-0.06, -0.13, 0.01), "−6 % of the way from random to placebo (−13 to 1)"),
    ],
)
def test_a_share_is_a_place_on_the_way(findings: Findings, share: Share | None, said: str) -> None:
    finding = dataclasses.replace(findings.findings[0], share=share, parts=None)
    assert words.share(finding) == said
    assert ("Share" in dict(words.facts(finding))) == bool(said)


def test_parts_are_counted_and_the_largest_is_named(findings: Findings) -> None:
    given = [Part("a", 0.5, 0.4, -0.1, -0.2, 0.0, 0.04), Part("b", 0.5, 0.9, 0.4, -0.1, 0.9, 0.2), Part("c")]
    finding = dataclasses.replace(findings.findings[0], parts=Parts("class", tuple(given)))
    assert words.parts(finding) == "1 of 2 classes changed, most a: −10 pp"
    assert dict(words.facts(finding))["Parts"] == words.parts(finding)
    same = dataclasses.replace(finding, parts=Parts("layer", (Part("a", 0.5, 0.5, 0.0, -0.1, 0.1, 0.9),)))
    assert words.parts(same) == "0 of 1 layer changed"
    gap = dataclasses.replace(finding, unit="dB", parts=Parts("confidence bin", tuple(given)))
    assert words.parts(gap) == "1 of 2 confidence bins changed, most a: −10 pp"
    deep = dataclasses.replace(finding, parts=Parts("depth", (Part("5", 0.5, 0.4, -0.1, -0.2, 0.0, 0.04),)))
    assert words.parts(deep) == "1 of 1 depth changed, most depth 5: −10 pp"
    assert words.parts(dataclasses.replace(finding, parts=Parts("group", (Part("c"),)))) == ""


@pytest.mark.parametrize(
    ("noun", "many"),
    [("batch", "batches"), ("class", "classes"), ("severity", "severities"), ("day", "days"), ("layer", "layers")],
)
def test_nouns_have_their_plural(noun: str, many: str) -> None:
    assert (words.plural(1, noun), words.plural(2, noun)) == (noun, many)
