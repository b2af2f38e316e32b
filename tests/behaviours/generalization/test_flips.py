import pytest

from whatelse.behaviours.generalization import accuracy, flips

# kept right, harmed, healed, moved, kept wrong, harmed
TARGETS, BEFORE, AFTER = [0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 1, 1], [0, 2, 0, 2, 1, 2]


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("harmed", [0, 1, 0, 0, 0, 1]),
        ("healed", [0, 0, 1, 0, 0, 0]),
        ("moved", [0, 0, 0, 1, 0, 0]),
        ("any", [0, 1, 1, 1, 0, 1]),
        ("net", [0, 1, -1, 0, 0, 1]),
    ],
)
def test_each_flip_has_its_direction(answers, votes, toy, rng, kind, expected):
    baseline, candidate = answers(votes(BEFORE), TARGETS), answers(votes(AFTER), TARGETS)
    answer = flips.compare(baseline, candidate, flips.Config(kind=kind), rng)
    assert answer["flip"].tolist() == expected
    assert flips.summarise(answer, flips.Config(), toy.ones(answer)) == pytest.approx([sum(expected) / 6])


def test_net_is_the_accuracy_lost(answers, votes, toy, rng):
    baseline, candidate = answers(votes(BEFORE), TARGETS), answers(votes(AFTER), TARGETS)
    net = flips.compare(baseline, candidate, flips.Config(kind="net"), rng)["flip"].mean()
    right = [accuracy.measure(e, accuracy.Config(), rng)["correct"].mean() for e in (baseline, candidate)]
    assert float(net) == pytest.approx(float(right[0] - right[1]))


@pytest.mark.parametrize(
    ("kind", "doubts"),
    [
        ("harmed", []),
        ("healed", ["kind healed is not better where it is lower: read the number"]),
        ("moved", ["kind moved is not better where it is lower: read the number"]),
        ("any", []),
        ("net", []),
    ],
)
def test_only_a_kind_with_a_better_side_is_judged(answers, votes, rng, kind, doubts):
    baseline, candidate = answers(votes(BEFORE), TARGETS), answers(votes(AFTER), TARGETS)
    answer = flips.compare(baseline, candidate, flips.Config(kind=kind), rng)
    assert [doubt.text for doubt in answer.doubts] == doubts
    assert not any(doubt.one_sided for doubt in answer.doubts)


def test_a_model_does_not_flip_against_itself(answers, votes, rng):
    evidence = answers(votes(BEFORE), TARGETS)
    for kind in ("harmed", "healed", "moved", "any", "net"):
        assert not flips.compare(evidence, evidence, flips.Config(kind=kind), rng)["flip"].any()


def test_no_more_can_be_harmed_than_is_right_and_no_more_healed_than_is_wrong(answers, votes, rng):
    baseline, candidate = answers(votes(BEFORE), TARGETS), answers(votes(AFTER), TARGETS)
    worst = {
        k: flips.compare(baseline, candidate, flips.Config(kind=k), rng).ends["worst"]
        for k in ("harmed", "healed", "moved", "any", "net")
    }
    assert worst == pytest.approx({"harmed": 3 / 6, "healed": 3 / 6, "moved": 3 / 6, "any": 1, "net": 3 / 6})
