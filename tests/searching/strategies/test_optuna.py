import itertools
import math
import sys
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from whatelse import items, testing
from whatelse.errors import MissingExtraError, SettingError
from whatelse.searching.protocol import Score
from whatelse.searching.space import Axis, Space
from whatelse.searching.strategies import optuna as strategy

NAMES = ("conv1", "conv2", "conv3", "linear", "head")
BITS = ("", *(f"quantize.uniform(bits={bits})" for bits in (8, 7, 6, 5, 4, 3, 2)))
SPACE = Space(tuple(Axis("layer", name, BITS) for name in NAMES))
SAMPLERS = pytest.mark.parametrize("sampler", ["tpe", "nsga2"])


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'whatelse[search]'")


@pytest.fixture
def problem(library):
    return replace(testing.problem(), space=SPACE)


def started(problem, seed=0, **given):
    return strategy.start(problem, strategy.Config(**given), torch.Generator().manual_seed(seed))


def additive(chosen):
    """Sizes and harms add up: each step down an axis saves as much as the last, and harms twice as much."""
    size = 1 - sum(chosen) / 50
    return Score(size, {"flips": sum(2.0**option - 1 for option in chosen) / 60 - 1, "accuracy": -0.5})


def best_of(search, trials):
    found = math.inf
    for chosen in itertools.islice(iter(search.ask, None), trials):
        score = additive(chosen)
        search.tell(chosen, score)
        found = min(found, score.value if score.feasible else math.inf)
    return found


@pytest.mark.known_answer
def test_it_comes_near_the_smallest_that_keeps_all_budgets(problem):
    every = (additive(chosen) for chosen in itertools.product(range(8), repeat=5))
    smallest = min(score.value for score in every if score.feasible)
    random = items.strategy("random")
    for seed in range(2):
        tpe = best_of(started(problem, seed), 60)
        drawn = best_of(random.start(problem, random.configure({}), torch.Generator().manual_seed(seed)), 60)
        assert smallest <= tpe <= smallest + 0.06, "three steps of fifty"
        assert tpe < drawn


@pytest.mark.known_answer
@SAMPLERS
def test_what_it_is_told_stands_in_the_librarys_own_study(problem, library, sampler):
    search = started(problem, sampler=sampler)
    asked = [search.ask() for _ in range(3)]
    search.tell(asked[2], Score(0.4, {"flips": -0.25, "accuracy": 3.0}))
    search.tell(asked[0], Score(math.inf, why="it failed"))
    search.tell(asked[1], Score(0.7, {"flips": math.inf}))
    failed, lost, kept = search.study.get_trials()
    assert (kept.value, kept.constraints) == (0.4, {"flips": -0.25, "accuracy": 3.0, "worked": 0.0})
    assert (failed.value, failed.constraints) == (1.0, {"worked": math.inf})
    assert (lost.value, lost.constraints) == (0.7, {"flips": math.inf, "worked": 0.0})
    assert all(trial.state == library.trial.TrialState.COMPLETE for trial in (failed, lost, kept))
    assert [tuple(trial.params.values()) for trial in (failed, lost, kept)] == asked
    kind = {"tpe": "TPESampler", "nsga2": "NSGAIISampler"}[sampler]
    assert type(search.study.sampler).__name__ == kind


@SAMPLERS
def test_the_first_is_mild_and_none_is_measured_twice(problem, sampler):
    whole = Axis("whole", "", ("", "prune.structured(ratio=0.2)"))
    mixed = replace(problem, space=Space((whole, *SPACE.axes[:2])))
    search = started(mixed, sampler=sampler)
    found = []
    for chosen in itertools.islice(iter(search.ask, None), 60):
        found.append(chosen)
        search.tell(chosen, Score(1 - sum(chosen) / 20, {"flips": float(chosen[1] > 2)}))
    assert found[0] == (0, 1, 1), "every layer at its mildest, and the whole model left alone"
    assert len(set(found)) == len(found) > 20
    assert started(replace(problem, space=Space((whole,)))).ask() == (1,)


@SAMPLERS
def test_it_ends_where_nothing_is_new_also_before_anything_is_told(problem, sampler):
    tiny = replace(problem, space=Space(SPACE.axes[:1]))
    search = started(tiny, sampler=sampler, misses=200)
    assert sorted(iter(search.ask, None)) == [(at,) for at in range(8)]
    assert search.ask() is None
    (remark,) = search.remarks()
    assert int(remark.split()[0]) >= 200
    assert remark.endswith(" proposals of the library had been measured before")
    assert started(tiny).remarks() == ()


@SAMPLERS
def test_options_may_be_taken_as_unlike_each_other(problem, library, sampler):
    search = started(problem, sampler=sampler, ordered=False)
    assert 0.5 < best_of(search, 25) < 1
    kinds = {type(one).__name__ for one in search.study.trials[0].distributions.values()}
    assert kinds == {"CategoricalDistribution"}


def test_it_prints_nothing_and_leaves_the_library_as_loud_as_it_was(problem, library, capfd):
    before = library.logging.get_verbosity()
    best_of(started(problem), 15)
    assert library.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_without_the_library_the_extra_is_named(rng):
    with patch.dict(sys.modules, {"optuna": None}), pytest.raises(MissingExtraError) as told:
        strategy.start(testing.problem(), strategy.Config(), rng)
    assert str(told.value) == "search optuna needs Optuna: pip install 'whatelse[search]'"


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingError, match="search optuna: sampler='cmaes'; there are: nsga2, tpe"):
        items.strategy("optuna").configure({"sampler": "cmaes"})
    with pytest.raises(SettingError, match=r"population=1 is outside \[2, inf\)"):
        items.strategy("optuna").configure({"population": 1})
