import numpy as np
import pytest
import torch

from whatelse.searching.selection import fronts, protected


def slow_fronts(points):
    """Goldberg's ranking, word for word: take out whom nobody left dominates, again and again."""
    left, found = set(range(len(points))), []
    while left:
        first = []
        for i in left:
            dominated = False
            for j in left:
                no_worse = all(b <= a for a, b in zip(points[i], points[j], strict=True))
                better = any(b < a for a, b in zip(points[i], points[j], strict=True))
                dominated = dominated or (no_worse and better)
            if not dominated:
                first.append(i)
        found.append(sorted(first))
        left -= set(first)
    return found


def slow_stages(accuracy, kinds):
    """The stages of pNSGA-III as the paper's authors write them: on 1/accuracy with o, and with 1/o, for every o."""
    sortings = []
    for o in kinds:
        sortings.append(slow_fronts([(1 / a, s) for a, s in zip(accuracy, o, strict=True)]))
        sortings.append(slow_fronts([(1 / a, 1 / s) for a, s in zip(accuracy, o, strict=True)]))
    stages, seen = [], set()
    for k in range(max(len(s) for s in sortings)):
        stage = set().union(*(s[k] for s in sortings if k < len(s))) - seen
        seen |= stage
        stages.append(stage)
    return stages


@pytest.mark.known_answer
def test_fronts_worked_by_hand():
    points = np.array([[1.0, 4.0], [2.0, 2.0], [2.0, 3.0], [3.0, 3.0], [1.0, 4.0], [np.nan, 0.0]])
    assert fronts(points) == [[0, 1, 4, 5], [2], [3]]
    assert fronts(np.empty((0, 2))) == []


@pytest.mark.known_answer
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kinds", [1, 2])
def test_stages_are_those_of_a_slow_rewrite_from_the_paper(seed, kinds):
    rng = np.random.default_rng(seed)
    n = 40
    accuracy = rng.integers(1, 12, n) / 12  # with ties
    sizes = rng.integers(1, 30, (kinds, n)).astype(float)
    stages = slow_stages(accuracy, sizes)
    for count in range(n + 1):
        kept = protected(1 - accuracy, sizes, count, torch.Generator().manual_seed(seed))
        assert len(kept) == len(set(kept)) == count
        whole = 0
        for stage in stages:
            if whole + len(stage) <= count:
                assert stage <= set(kept)
            else:
                # Of the stage that is too much members are drawn, and none of later stages.
                assert set(kept[whole:]) <= stage
                break
            whole += len(stage)


@pytest.mark.known_answer
def test_large_models_are_protected_where_plain_sorting_drops_them():
    # Small ones are as good as the large ones so far: by harm and size alone no large one is in the first front.
    harm = np.array([0.10, 0.11, 0.12, 0.30, 0.10, 0.11])
    sizes = np.array([10.0, 9.0, 8.0, 2.0, 90.0, 100.0])
    assert fronts(np.stack([harm, sizes], 1))[0] == [0, 1, 2, 3]
    assert fronts(np.stack([harm, -sizes], 1))[0] == [4, 5]
    # The first stage holds both first fronts, so that the two large ones are among the six in every draw.
    assert set(protected(harm, sizes[None], 6, torch.Generator())) == {0, 1, 2, 3, 4, 5}
    crowd = np.concatenate([harm, harm[:4] + 0.05]), np.concatenate([sizes, sizes[:4]])
    assert set(protected(crowd[0], crowd[1][None], 6, torch.Generator())) == {0, 1, 2, 3, 4, 5}


def test_who_is_drawn_of_the_last_stage_goes_by_the_generator():
    harm, sizes = np.arange(20.0), np.arange(20.0)[None]  # all trade one for the other: one stage
    one, two, three = (protected(harm, sizes, 5, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert one == two != three
