import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from whatelse.behaviours.generalization import distance

KINDS = ("kl", "js", "variation")


@pytest.mark.known_answer
def test_two_coins_by_hand(answers, toy, rng):
    # Chances .5, .5 become .25, .75: KL is log(2) / 2 + log(2 / 3) / 2.
    before, after = (answers(np.log([[0.5, 0.5], p]), [0, 1]) for p in ([0.5, 0.5], [0.25, 0.75]))
    answer = distance.compare(before, after, distance.Config(), rng)
    by_hand = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert answer["distance"].tolist() == pytest.approx([0, by_hand], abs=1e-6)
    assert distance.summarise(answer, distance.Config(), toy.ones(answer)) == pytest.approx([by_hand / 2], abs=1e-6)
    answer = distance.compare(before, after, distance.Config(kind="variation"), rng)
    assert answer["distance"].tolist() == pytest.approx([0, 0.25], abs=1e-6)


@pytest.mark.known_answer
def test_scipy_agrees(answers, rng):
    random = np.random.default_rng(0)
    p, q = random.dirichlet(np.ones(4), (2, 50))
    before, after = answers(np.log(p), [0, 1] * 25), answers(np.log(q), [0, 1] * 25)
    expected = {
        "kl": entropy(p, q, axis=1),
        "js": jensenshannon(p, q, axis=1) ** 2,
        "variation": np.abs(p - q).sum(1) / 2,
    }
    for kind, theirs in expected.items():
        answer = distance.compare(before, after, distance.Config(kind=kind), rng)
        assert answer["distance"] == pytest.approx(theirs, rel=1e-4, abs=1e-6), kind


def test_nearer_is_better_and_volume_says_so():
    assert distance.BETTER == "lower"
    assert "never less accurate" in " ".join(distance.__doc__.partition("Cost:")[0].split())


def test_only_the_divergence_has_a_direction(answers, rng):
    one, other = answers([[3.0, 0.0], [0.0, 1.0]], [0, 1]), answers([[0.0, 0.0], [0.0, 2.0]], [0, 1])
    for kind in KINDS:
        there, back = (
            distance.compare(*pair, distance.Config(kind=kind), rng)["distance"]
            for pair in ((one, other), (other, one))
        )
        assert (there.tolist() == pytest.approx(back.tolist())) == (kind != "kl")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_at_no_distance_from_itself_and_opposites_stay_finite(answers, rng, kind):
    one, other = answers([[1e4, 0.0], [0.0, 1e4]], [0, 1]), answers([[0.0, 1e4], [1e4, 0.0]], [0, 1])
    assert not distance.compare(one, one, distance.Config(kind=kind), rng)["distance"].any()
    far = {"kl": 1e4, "js": math.log(2), "variation": 1}[kind]
    answer = distance.compare(one, other, distance.Config(kind=kind), rng)
    assert answer["distance"].tolist() == pytest.approx([far, far])
    assert answer.ends == {"worst": {"kl": None, "js": math.log(2), "variation": 1.0}[kind]}


def test_a_small_change_is_not_lost_in_rounding(answers, rng):
    one, other = answers([[0.0, 0.0], [0.0, 1.0]], [0, 1]), answers([[1e-4, 0.0], [0.0, 1.0]], [0, 1])
    # To second order KL is p (1 - p) d**2 / 2.
    assert distance.compare(one, other, distance.Config(), rng)["distance"][0] == pytest.approx(1e-8 / 8, rel=1e-3)
