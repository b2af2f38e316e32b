import pytest

from whatelse.behaviours.language import transitions

BEFORE = [[-1.0, -2.0], [-2.0, -1.0], [-1.0, -2.0], [-2.0, -2.0], [-2.0, -1.0]]
AFTER = [[-1.0, -2.0], [-1.0, -2.0], [-2.0, -1.0], [-1.0, -2.0], [-2.0, -1.0]]


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("kind", "expected", "worst"),
    [
        ("emerged", [0, 1, 0, 1, 0], 0.6),
        ("vanished", [0, 0, 1, 0, 0], 0.4),
        ("any", [0, 1, 1, 1, 0], 1.0),
        ("net", [0, 1, -1, 1, 0], 0.6),
    ],
)
def test_each_transition_has_its_direction(said, ones, rng, kind, expected, worst):
    base, mine = (said(scores, [0] * 5, "pairs") for scores in (BEFORE, AFTER))
    answer = transitions.compare(base, mine, transitions.Config(kind=kind), rng)
    assert answer["turned"].tolist() == expected
    assert answer.ends["worst"] == pytest.approx(worst)
    assert bool(answer.doubts) == (kind == "vanished")
    found = transitions.summarise(answer, transitions.Config(), ones(answer))
    assert found == pytest.approx([sum(expected) / 5])
