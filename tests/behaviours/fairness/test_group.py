import dataclasses

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from sklearn.metrics import accuracy_score, recall_score

from whatelse.behaviours.fairness import group
from whatelse.errors import NotMeasurableError
from whatelse.statistics import multiplicity, resample, sides

# Right: 2 of 3 in group 0, 1 of 2 in group 1, 0 of 1 in group 2, and one of no group.
TARGETS, SAID, STYLE = [0, 1, 2, 0, 1, 2, 0], [0, 1, 0, 0, 0, 1, 0], [0, 0, 0, 1, 1, 2, -1]


@pytest.mark.known_answer
def test_the_accuracies_by_hand(answers, toy, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE})
    answer = group.measure(evidence, group.Config(least=2), rng)
    assert answer["outcome"].tolist() == [1, 1, 0, 1, 0, 0, 1]
    assert answer["group style"].tolist() == [*STYLE[:-1], 3]
    assert answer["large group style"].tolist() == [0, 0, 0, 1, 1, -1, -1]
    assert group.by_part(answer, group.Config(), toy.ones(answer))[0] == pytest.approx([2 / 3, 1 / 2, 0, 1])
    assert group.summarise(answer, group.Config(), toy.ones(answer)) == pytest.approx([(2 / 3 + 1 / 2) / 2])
    assert answer.parts.names == ("style 0", "style 1", "style 2", "style missing")
    assert answer.notes[0] == "style is missing for 1 of 7 examples: they are in no group"
    counts = np.array([[1, 1, 1, 0, 0, 1, 0]])
    assert group.by_part(answer, group.Config(), counts)[0] == pytest.approx([2 / 3, np.nan, 0, np.nan], nan_ok=True)
    assert group.summarise(answer, group.Config(), counts) == pytest.approx([2 / 3])


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("rate", "metric"),
    [
        ("accuracy", accuracy_score),
        ("tpr", true_positive_rate),
        ("fpr", false_positive_rate),
        ("selection", selection_rate),
    ],
)
@pytest.mark.parametrize(("classes", "of"), [(2, -1), (2, 0), (4, 2)])
def test_it_is_the_table_of_fairlearn(drawn, toy, rng, rate, metric, classes, of):
    evidence, said, target, code = drawn(400, classes)
    config = group.Config(rate=rate, of=of)
    answer = group.measure(evidence, config, rng)
    assert list(answer.columns)[:-2] == (["predicted", "truth"] if rate in {"tpr", "fpr"} else ["outcome"])
    if rate != "accuracy":
        said, target = (a == (1 if of < 0 else of) for a in (said, target))
    frame = MetricFrame(metrics=metric, y_true=target, y_pred=said, sensitive_features=code)
    assert group.by_part(answer, config, toy.ones(answer))[0] == pytest.approx(frame.by_group.to_numpy())
    assert group.summarise(answer, config, toy.ones(answer)) == pytest.approx([frame.by_group.mean()])
    # The same as the mean outcome of those that each rate is of.
    outcome, place, _ = group.outcomes(answer, config).T
    means = [outcome[place == g].mean() for g in range(3)]
    assert means == pytest.approx(frame.by_group.to_numpy())


@pytest.mark.known_answer
def test_over_classes_it_is_the_mean_one_against_the_rest(drawn, toy, rng):
    evidence, said, target, code = drawn(400, 4)
    for rate in ("tpr", "fpr"):
        config = group.Config(rate=rate)
        answer = group.measure(evidence, config, rng)
        slow = []
        for g in range(3):
            t, s = target[code == g], said[code == g]
            if rate == "tpr":
                slow.append(recall_score(t, s, average="macro"))
            else:
                slow.append(np.mean([np.mean(s[t != c] == c) for c in range(4)]))
        assert group.by_part(answer, config, toy.ones(answer))[0] == pytest.approx(slow)
        assert np.isnan(group.outcomes(answer, config)[:, 0]).all(), "a mean over classes is no mean of outcomes"


@pytest.mark.known_answer
def test_calibration_is_confidence_less_accuracy(canned, toy, rng):
    # Always 3/4 sure of class 0, which is right in one half of group 0 and everywhere in group 1.
    logits = np.log([[0.75, 0.25]] * 8)
    evidence = canned(logits, [0, 1, 0, 1, 0, 0, 0, 0], {"style": [0] * 4 + [1] * 4})
    config = group.Config(rate="calibration", least=1)
    answer = group.measure(evidence, config, rng)
    assert group.by_part(answer, config, toy.ones(answer))[0] == pytest.approx([1 / 4, -1 / 4], abs=1e-6)


@pytest.mark.known_answer
def test_planted_harm_in_one_intersection_is_found_there_and_nowhere_else(canned, toy, rng):
    draw = np.random.default_rng(0)
    target = draw.integers(0, 2, 2000)
    groups = {"sex": draw.integers(0, 2, 2000), "race": draw.integers(0, 2, 2000)}
    hit = (groups["sex"] == 0) & (groups["race"] == 1) & (draw.random(2000) < 0.1)
    before, after = (canned(np.eye(2)[s], target, groups) for s in (target, np.where(hit, 1 - target, target)))
    config = group.Config(group="sex x race")
    pair = [group.measure(e, config, rng) for e in (before, after)]
    old, new = (group.by_part(answer, config, toy.ones(answer))[0] for answer in pair)
    change = dict(zip(pair[1].parts.names, new - old, strict=True))
    assert pair[0].parts == pair[1].parts
    assert change.pop("sex 0 x race 1") == pytest.approx(-0.1, abs=0.04)  # 3 standard errors of 500 examples
    assert set(change.values()) == {0}


def found_in(before, after, rng):
    """Effect and adjusted p of every group, as a study computes them."""
    pair = [group.measure(e, group.Config(), rng) for e in (before, after)]

    def by_part(values, weights):
        return group.by_part(pair[0].over(values), group.Config(), weights)

    draw = np.random.default_rng(0)
    drawn = resample.resamples(len(pair[0]), 2000, draw)
    old, new = (sides.parts([answer.matrix()], by_part, drawn) for answer in pair)
    effects = [sides.contrast(b, a, draw, draws=2000) for b, a in zip(old, new, strict=True)]
    return [e.effect for e in effects], multiplicity.benjamini_hochberg([e.p for e in effects])


@pytest.mark.known_answer
def test_a_study_finds_harm_planted_in_one_group_and_none_where_none_is(canned, rng):
    draw = np.random.default_rng(2)
    target, style = draw.integers(0, 2, 1500), draw.integers(0, 5, 1500)

    def model(error):
        wrong = draw.random(1500) < error
        return canned(np.eye(2)[np.where(wrong, 1 - target, target)], target, {"style": style})

    before, twin = model(0.1), model(0.1)
    effects, p = found_in(before, model(np.where(style == 3, 0.25, 0.1)), rng)
    assert effects[3] == pytest.approx(-0.15, abs=0.08)  # 3 standard errors of 300 examples
    assert p[3] < 0.01
    assert min(np.delete(p, 3)) > 0.05
    assert min(found_in(before, twin, rng)[1]) > 0.05


def test_a_selection_of_no_class_in_particular_is_refused(drawn, rng):
    evidence, *_ = drawn(100, 3)
    with pytest.raises(NotMeasurableError, match="such as of=0"):
        group.measure(evidence, group.Config(rate="selection", least=1), rng)


def test_a_group_without_the_class_has_no_rate(answers, toy, rng):
    evidence = answers([0, 1, 1, 1], [0, 1, 1, 1], {"style": [0, 0, 1, 1]}, classes=2)
    config = group.Config(rate="fpr", least=1)
    answer = group.measure(evidence, config, rng)
    assert group.by_part(answer, config, toy.ones(answer))[0] == pytest.approx([0, np.nan], nan_ok=True)
    assert group.summarise(answer, config, toy.ones(answer)) == pytest.approx([0])


def test_a_resample_without_positives_has_no_rate_rather_than_none_found(answers, rng):
    evidence = answers([1, 0, 1, 1], [1, 0, 1, 0], {"style": [0, 0, 1, 1]}, classes=2)
    config = group.Config(rate="tpr", least=1)
    answer = group.measure(evidence, config, rng)
    counts = np.array([[1, 1, 1, 1], [0, 2, 0, 2]])
    assert group.summarise(answer, config, counts) == pytest.approx([1, np.nan], nan_ok=True)


def test_groups_are_named_as_the_task_names_them(answers, rng):
    evidence = answers(SAID, TARGETS, {"style": STYLE})
    evidence.task = dataclasses.replace(evidence.task, group_names={"style": ("thin", "bold", "odd")})
    answer = group.measure(evidence, group.Config(least=2), rng)
    assert answer.parts.names == ("thin", "bold", "odd", "style missing")


@pytest.mark.parametrize(
    ("rate", "doubted"), [("accuracy", 0), ("tpr", 0), ("fpr", 1), ("selection", 1), ("calibration", 1)]
)
def test_a_rate_without_a_better_side_gives_no_verdict(answers, rng, rate, doubted):
    evidence = answers([0, 1, 1, 0], [0, 1, 0, 1], {"style": [0, 0, 1, 1]}, classes=2)
    answer = group.measure(evidence, group.Config(rate=rate, least=1), rng)
    assert len(answer.doubts) == doubted
    assert answer.parts.better == ("neither" if doubted else "higher")
    assert answer.ends == ({"worst": None} if doubted else {})
