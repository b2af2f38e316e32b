import itertools

import numpy as np
import pytest

from whatelse.searching.program import Program


def smallest(sizes, harms, center, tight, radius, most=np.inf, cuts=()):
    found = []
    at = harms[0][center[0]]
    for chosen in itertools.product(*(range(len(axis)) for axis in sizes)):
        harm = at + sum(axis[o] - at for axis, o in zip(harms, chosen, strict=True))
        far = sum(o != c for o, c in zip(chosen, center, strict=True))
        size = sum(axis[o] for axis, o in zip(sizes, chosen, strict=True))
        if far <= radius and size <= most + 1e-12 and chosen not in cuts and (harm <= tight + 1e-9).all():
            found.append((size, chosen))
    return min(found) if found else None


def world(seed, axes=4, options=4, budgets=3):
    rng = np.random.default_rng(seed)
    sizes = [np.concatenate([[0.0], -rng.random(options - 1)]) for _ in range(axes)]
    center = (0,) * axes
    at = np.full(budgets, -1.0)
    harms = [np.vstack([at, at + rng.random((options - 1, budgets))]) for _ in range(axes)]
    return sizes, harms, center


def program(sizes, harms, center):
    made = [[True] * len(axis) for axis in sizes]
    return Program(sizes, made, harms, center, np.ones(sum(map(len, sizes))))


@pytest.mark.known_answer
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("radius", [1, 2, 4])
def test_the_program_finds_what_trying_all_finds(seed, radius):
    sizes, harms, center = world(seed)
    wanted = smallest(sizes, harms, center, 0.0, radius)
    found = program(sizes, harms, center).solve(0.0, radius)
    size = sum(axis[o] for axis, o in zip(sizes, found, strict=True))
    assert size == pytest.approx(wanted[0], abs=1e-3)  # the solver's own gap is 1e-4 of the whole objective


@pytest.mark.known_answer
@pytest.mark.parametrize("seed", range(6))
def test_what_is_cut_and_what_is_too_large_is_not_found(seed):
    sizes, harms, center = world(seed)
    first = program(sizes, harms, center).solve(0.0, 4)
    size = sum(axis[o] for axis, o in zip(sizes, first, strict=True))
    second = program(sizes, harms, center).solve(0.0, 4, cuts=[first])
    assert second != first
    wanted = smallest(sizes, harms, center, 0.0, 4, cuts=[first])
    assert sum(a[o] for a, o in zip(sizes, second, strict=True)) == pytest.approx(wanted[0], abs=1e-3)
    below = program(sizes, harms, center).solve(0.0, 4, most=size - 0.05)
    assert sum(a[o] for a, o in zip(sizes, below, strict=True)) <= size - 0.05 + 1e-9


def test_where_nothing_keeps_the_budgets_the_least_excess_is_found():
    sizes = [np.array([0.0, -0.5]), np.array([0.0, -0.4])]
    at = np.array([2.0])
    harms = [np.array([[2.0], [1.0]]), np.array([[2.0], [1.5]])]
    found = Program(sizes, [[True, True]] * 2, harms, (0, 0), np.ones(4)).solve(0.0, 2)
    assert found == (1, 1)  # 2 - 1 - 0.5 = 0.5 over; each alone is more
    assert at[0] == harms[0][0][0]


def test_an_option_that_is_not_there_is_not_chosen():
    sizes = [np.array([0.0, -0.9, -0.1])]
    harms = [np.array([[-1.0], [-1.0], [-1.0]])]
    assert Program(sizes, [[True, False, True]], harms, (0,), np.ones(3)).solve(0.0, 1) == (2,)


def test_there_is_none_where_all_are_cut():
    sizes = [np.array([0.0, -0.9])]
    harms = [np.array([[-1.0], [-1.0]])]
    assert Program(sizes, [[True, True]], harms, (0,), np.ones(2)).solve(0.0, 1, cuts=[(0,), (1,)]) is None
