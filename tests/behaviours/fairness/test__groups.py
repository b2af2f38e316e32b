import dataclasses

import numpy as np
import pytest
import torch
from fairlearn.metrics import MetricFrame
from sklearn.metrics import confusion_matrix

from whatelse.behaviours.fairness import _groups
from whatelse.errors import NotMeasurableError

SEX, RACE = [0, 0, 0, 1, 1, 1, 1, -1], [1, 0, 1, 0, 0, 0, 1, 0]
NAMES = {"sex": ("female", "male"), "race": ("White", "Black")}


@pytest.fixture
def people(answers):
    evidence = answers([0] * 8, [0, 1] * 4, {"sex": SEX, "race": RACE}, classes=2)
    evidence.task = dataclasses.replace(evidence.task, group_names=NAMES)
    return evidence


@pytest.mark.parametrize("group", ["sex x race", "*"])
def test_an_intersection_has_every_pair_that_occurs(people, group):
    found = _groups.grouping(people, group, 1)
    assert found.name == "sex x race"
    assert found.names == ("female x White", "female x Black", "male x White", "male x Black")
    assert found.sizes == (1, 2, 3, 1)
    assert found.code.tolist() == [1, 0, 1, 2, 2, 2, 3, -1]
    assert found.notes == ("sex x race is missing for 1 of 8 examples: they are in no group",)


def test_the_order_of_an_intersection_is_the_order_of_its_columns(people):
    found = _groups.grouping(people, "race x sex", 1)
    assert found.names == ("White x female", "White x male", "Black x female", "Black x male")


def test_small_groups_are_left_out_of_comparisons_and_named_with_their_size(people):
    found = _groups.grouping(people, "sex x race", 2)
    assert found.kept().tolist() == [1, -1, 1, 2, 2, 2, -1, -1]
    assert found.kept_names() == ["female x Black", "male x White"]
    assert found.parts() == ["female x White", "female x Black", "male x White", "male x Black", "sex x race missing"]
    assert found.codes().tolist() == [1, 0, 1, 2, 2, 2, 3, 4]
    assert found.notes[-1] == "left out of the number as smaller than 2 examples: female x White (1), male x Black (1)"


def test_a_note_names_at_most_a_few_of_many_small_groups(answers):
    evidence = answers([0] * 12, [0, 1] * 6, {"id": list(range(10)) + [10, 10]}, classes=2)
    found = _groups.grouping(evidence, "", 2)
    assert found.notes[0].endswith("id 7 (1) and 2 more")


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("sex x rase", r"needs the grouping 'rase'; did you mean race\?"),
        ("dialect", "needs the grouping 'dialect'; there are: race, sex"),
    ],
)
def test_an_unknown_grouping_gets_the_nearest(people, group, message):
    with pytest.raises(NotMeasurableError, match=message):
        _groups.grouping(people, group, 1)


def test_everything_missing_leaves_no_group(answers):
    evidence = answers([0, 1], [0, 1], {"sex": [-1, -1]})
    with pytest.raises(NotMeasurableError, match="needs 1 or more groups of 1 examples; sex has 0"):
        _groups.grouping(evidence, "", 1)


def test_a_grouping_may_hold_the_word_that_joins(answers):
    found = _groups.grouping(answers([0, 1], [0, 1], {"4 x 4": [0, 1]}), "4 x 4", 1)
    assert found.names == ("4 x 4 0", "4 x 4 1")


@pytest.mark.known_answer
def test_the_rates_are_those_of_scikit_learns_confusion_matrix_on_every_resample():
    draw = np.random.default_rng(1)
    said, target, code = draw.integers(0, 5, 300), draw.choice([0, 2, 3], 300), draw.integers(-1, 3, 300)
    counts = draw.multinomial(300, np.full(300, 1 / 300), size=4)
    table = _groups.table(said, target, code, counts)
    assert table.recall().shape == (4, 3, 3)  # class 1 and class 4 are no targets
    for i, c in enumerate(counts):
        for g in range(3):
            keep = np.repeat(np.arange(300), c)
            keep = keep[code[keep] == g]
            for j, k in enumerate((0, 2, 3)):
                tn, fp, fn, tp = confusion_matrix(target[keep] == k, said[keep] == k).ravel()
                assert table.recall()[i, j, g] == pytest.approx(tp / (tp + fn))
                assert table.alarms()[i, j, g] == pytest.approx(fp / (fp + tn))
                assert table.selection()[i, j, g] == pytest.approx((tp + fp) / len(keep))


@pytest.mark.known_answer
def test_intersections_are_those_of_fairlearn(people):
    right = np.arange(8) % 3 == 0
    found = _groups.grouping(people, "*", 1)
    known = np.array(SEX) >= 0
    features = {"sex": np.array(SEX)[known], "race": np.array(RACE)[known]}
    frame = MetricFrame(
        metrics=lambda t, s: s.mean(), y_true=right[known], y_pred=right[known], sensitive_features=features
    )
    ours = _groups.rates(right.astype(float), found.code.numpy(), np.ones((1, 8)))[0]
    assert ours == pytest.approx(frame.by_group.to_numpy())


def test_the_mean_of_what_is_known_is_not_known_where_nothing_is():
    values = np.array([[1, np.nan, 3], [np.nan] * 3])
    assert _groups.mean(values) == pytest.approx([2, np.nan], nan_ok=True)
    assert _groups.mean(values, axis=0) == pytest.approx([1, np.nan, 3], nan_ok=True)


def test_many_groups_need_little_memory():
    # A dense table of 2,000 groups and 20,000 examples would take 320 MB.
    code = torch.arange(20_000).numpy() % 2_000
    rates = _groups.rates(code / 2_000, code, np.ones((2, 20_000)))
    assert rates[1] == pytest.approx(np.arange(2_000) / 2_000)


def test_every_grouping_has_two_columns_whose_codes_are_places_among_all_parts(people):
    found = _groups.parting(people, "sex + race", 4)
    assert found.names() == ("sex: female", "sex: male", "sex: sex missing", "race: White", "race: Black")
    columns = {name: codes.tolist() for name, codes in found.columns().items()}
    assert columns == {
        "group sex": [0, 0, 0, 1, 1, 1, 1, 2],
        "group race": [4, 3, 4, 3, 3, 3, 4, 3],
        "large group sex": [-1, -1, -1, 1, 1, 1, 1, -1],
        "large group race": [-1, 3, -1, 3, 3, 3, -1, 3],
    }
    assert len(found.notes) == 3, "what is missing, and what is small in each"


def test_a_grouping_that_is_asked_for_twice_stands_once(people):
    assert _groups.parting(people, "race + race", 1).names() == ("White", "Black")
