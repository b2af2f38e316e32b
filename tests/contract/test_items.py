"""What every method and every behaviour must do. New files are picked up by their path.

Each ``check_...`` takes an item by kind and name, and what it is tried on; the tests say on what.
"""

import copy
import dataclasses
import inspect
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from whatelse import items, recipe, registry
from whatelse.answer import Answer, Doubt, Parts, Shown
from whatelse.errors import MissingHardwareError, NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.nets import cnn, transformer
from whatelse.study import estimate
from whatelse.tasks.task import SPLITS, Split, Task
from whatelse.training import loop

ROOT = Path(__file__).parents[2]
METHODS, BEHAVIOURS = registry.names("methods"), registry.names("behaviours")
ITEMS = [("methods", n) for n in METHODS] + [("behaviours", n) for n in BEHAVIOURS]
NEEDS = {"predicts", "differentiates", "opens", "groups", "masks", "references", "label noise", "inputs in bounds"}
NEEDS |= {"images", "tables", "texts", "shifted split", "same units", "sensitivities"}
UNIT_OF_ANALYSIS = {"test example", "training example", "record", "batch", "layer", "turn", "example", "image"}
ASKED = {
    "compress": ["model", "config", "task", "rng"],
    "measure": ["evidence", "config", "rng"],
    "compare": ["baseline", "candidate", "config", "rng"],
    "summarise": ["answer", "config", "weights"],
    "by_part": ["answer", "config", "weights"],
    "outcomes": ["answer", "config"],
    "effort": ["config", "task"],
}
every_item = pytest.mark.parametrize(("kind", "name"), ITEMS, ids=[":".join(i) for i in ITEMS])


def check_parts(kind, name):
    """It has the parts of its kind, documented, in order, and nothing else that is public."""
    item = registry.load(kind, name)
    assert re.search(r"^Source:\n    \S", item.__doc__, re.M), "say where it comes from"
    assert isinstance(item.VERSION, int)
    assert dataclasses.is_dataclass(item.Config)
    assert item.Config.__dataclass_params__.frozen
    item.Config()  # every setting has a default
    assert all(f.metadata.get("help") for f in dataclasses.fields(item.Config))
    public = [
        n for n, v in vars(item).items() if not n.startswith("_") and getattr(v, "__module__", None) == item.__name__
    ]
    first, rest = public[1], ["effort"]
    if kind == "behaviours":
        assert ("by_part" in public) == ("PARTS" in vars(item)), "PARTS says what a breakdown's parts are"
        assert "outcomes" not in public or "by_part" in public, "outcomes are those of parts"
        rest = ["summarise", "by_part", "outcomes", "effort"]
    assert first in {"methods": ("compress",), "behaviours": ("measure", "compare")}[kind]
    assert public == ["Config", first, *(n for n in rest if n in (*public, "summarise"))]
    for part in public[1:]:
        assert list(inspect.signature(getattr(item, part)).parameters) == ASKED[part], part


def check_numbers(name):
    """It says what its numbers are."""
    item = items.behaviour(name)
    assert item.better in {"higher", "lower"}
    assert item.unit
    assert item.needs <= NEEDS
    assert item.unit_of_analysis in UNIT_OF_ANALYSIS


def check_ends(name):
    """It says where nothing is left to lose, and what is said of a model that nothing is seen of: decision 0022."""
    item = items.behaviour(name)
    assert all(end is None or isinstance(end, float) for end in (item.worst, item.blind))
    if item.worst is not None and item.blind is not None:
        assert (item.worst <= item.blind) == (item.better == "higher")
    if item.range is not None:
        assert item.worst == item.range[item.better == "lower"]


def check_place_in_a_recipe(name):
    """It names its knob, and the states of a model that it takes and leaves."""
    item = items.method(name)
    assert item.takes
    assert set(recipe.STATES) >= item.takes
    assert item.leaves in {"", *recipe.STATES}
    assert item.knob == "" or item.knob in {f.name for f in dataclasses.fields(item.config)}


def asked_of(name, base, mine):
    """What a behaviour answers of a pair with its default settings."""
    item = items.behaviour(name)
    try:
        return item.answer(base, mine, item.config(), torch.Generator().manual_seed(7))
    except NotMeasurableError as error:
        pytest.fail(f"not measurable on a task that has everything: {error}")


def written_on(evidence):
    """What evidence holds besides observations and passes: no behaviour writes any of it."""
    public = (f.name for f in dataclasses.fields(evidence) if not f.name.startswith("_") and f.name != "batch")
    held = {name: getattr(evidence, name) for name in public}
    plain = (list, dict, tuple, int, torch.Tensor, type(None))
    return {name: copy.copy(value) for name, value in held.items() if isinstance(value, plain)}


def check_answer(answer):
    """It has the form of an answer: finite columns, and everything that is said beside them of the right kind."""
    assert isinstance(answer, Answer), f"{type(answer).__name__} instead of an Answer"
    for name, column in answer.columns.items():
        # Counts above 2**24 are exact in double precision alone.
        assert column.dtype in {torch.float32, torch.float64}, name
        assert column.isfinite().all(), name
    assert answer.rows is None or answer.rows.shape == (len(answer),)
    assert len(set(answer.parts.names)) == len(answer.parts.names)
    assert answer.parts.better in {"", "higher", "lower", "neither"}
    assert all(isinstance(note, str) and "\n" not in note for note in answer.notes)
    assert all(isinstance(doubt, Doubt) and "\n" not in doubt.text for doubt in answer.doubts)
    assert all(isinstance(shown, Shown) for shown in answer.shown)
    assert set(answer.ends) <= {"worst", "blind"}
    assert isinstance(answer.notes, tuple)
    assert isinstance(answer.doubts, tuple)


def check_repeats(name, pair):
    """The same seed gives the same answer; models, evidence and the process are left as they were."""
    state, found = torch.get_rng_state(), []
    for _ in range(2):
        base, mine = pair()
        weights, before = copy.deepcopy(mine.model.state_dict()), [written_on(e) for e in (base, mine)]
        answer = asked_of(name, base, mine)
        check_answer(answer)
        found.append(answer)
        assert all(torch.equal(weights[k], v) for k, v in mine.model.state_dict().items())
        assert not any(m._forward_hooks for m in mine.model.modules()), "a hook was left behind"
        assert before == [written_on(e) for e in (base, mine)], "the evidence is a cache: say it in the answer"
    one, two = found
    assert list(one.columns) == list(two.columns)
    assert one.parts == two.parts
    if items.behaviour(name).unit_of_analysis != "turn":  # wall times do not repeat
        assert all(torch.equal(one.columns[column], two.columns[column]) for column in one.columns), "same seed"
    assert torch.equal(state, torch.get_rng_state()), "the generator of the process was used"
    return one


def check_summaries(name, answer):
    """One number a resample from it, and one for every part; by the names of columns, not by their order."""
    item, weights = items.behaviour(name), np.ones((3, len(answer)))
    config, answer = item.config(), answer.over(answer.matrix().astype(float))
    moved = dataclasses.replace(answer, columns=dict(reversed(answer.columns.items())))
    summary = item.summarise(answer, config, weights)
    assert summary.shape == (3,)
    assert summary[0] == summary[2]
    assert np.allclose(summary, item.summarise(moved, config, weights), rtol=1e-9, atol=1e-12, equal_nan=True)
    if item.by_part is None:
        assert answer.parts.names == ()
        return
    with np.errstate(invalid="ignore", divide="ignore"):
        parts, again = (item.by_part(a, config, weights) for a in (answer, moved))
    assert parts.shape == (3, len(answer.parts.names)), "a name for every part"
    # Alike but for rounding: a product of matrices may sum its last rows in another order than its first.
    assert np.allclose(parts[0], parts[2], rtol=1e-9, atol=1e-12, equal_nan=True)
    assert np.allclose(parts, again, rtol=1e-9, atol=1e-12, equal_nan=True)
    if item.outcomes is not None:
        told = item.outcomes(answer, config)
        assert len(told) == len(answer)
        assert told.shape[1] % 2 == 1, "the outcome, and of every grouping where its part is and whether it counts"
        assert told[:, 1:].max() < len(answer.parts.names)


def check_cost(name, pair):
    """It costs no more passes than it says, and says not much more."""
    item = items.behaviour(name)
    base, mine = pair()
    asked_of(name, base, mine)
    effort = 0 if item.effort is None else item.effort(item.config(), mine.task)
    spent = sum(e.passes.forward + e.passes.backward for e in (base, mine))
    splits = {split: len(examples) for split, examples in mine.task.splits.items()}
    shared = 2 * (sum(splits.values()) + splits["test"])  # of both models; gradients of test alone
    assert spent <= effort + shared, "say in `effort` what it costs beyond the shared passes"
    assert effort <= 10 * spent + 1000, "an estimate that says nothing"


def check_copy(name, model, task):
    """It returns a new model, the same for the same seed, and leaves its input and the process as they were."""
    item, inputs = items.method(name), task.test.inputs
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    fields = {f.name for f in dataclasses.fields(item.config)}
    config = item.config(**({"epochs": 1} if "epochs" in fields else {}))
    one, two = (item.compress(model, config, task, torch.Generator().manual_seed(7)) for _ in range(2))
    assert one is not model
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert one(inputs).shape == (len(inputs), task.classes)
    assert torch.equal(one(inputs), two(inputs)), "same seed, same model"
    assert torch.equal(state, torch.get_rng_state()), "the generator of the process was used"


@contextmanager
def asked(shape):
    """How many examples of a shape any whole network is passed meanwhile; of its parts no call is counted."""
    seen, depth = Counter(), Counter()

    def enter(part, given):
        if not depth["now"] and isinstance(given[0], torch.Tensor) and given[0].shape[1:] == shape:
            seen["examples"] += len(given[0])
        depth["now"] += 1

    def leave(part, given, output):
        depth["now"] -= 1

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def check_training(name, model, task):
    """It trains about as long as it says."""
    item, long, size = items.method(name), 12, len(task.train)
    given = {"epochs": long} if "epochs" in {f.name for f in dataclasses.fields(item.config)} else {}
    with asked(task.shape) as seen:
        item.compress(model, item.config(**given), task, torch.Generator().manual_seed(7))
    said = estimate.training(recipe.Step(name, tuple(given.items())), task)
    # Besides training a method may look at all examples a few times: teachers, gradients, scales layer by layer.
    trained = seen["examples"] - 8 * size
    assert said >= 1.5 * trained, "say in `effort` how long it trains"
    assert said <= 6 * (seen["examples"] + long * size), "an estimate that says nothing"


@every_item
def test_it_has_the_parts_in_order(kind, name):
    check_parts(kind, name)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_says_what_its_numbers_are(name):
    check_numbers(name)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_says_where_its_scale_ends(name):
    check_ends(name)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_names_its_knob_and_its_place_in_a_recipe(name):
    check_place_in_a_recipe(name)


def test_of(kind, name):
    *folders, last = name.split(".")
    return ROOT.joinpath("tests", kind, *folders, f"test_{last}.py")


test_of.__test__ = False


@every_item
def test_it_has_a_known_answer(kind, name):
    path = test_of(kind, name)
    assert path.exists(), f"write {path.relative_to(ROOT)}"
    assert "@pytest.mark.known_answer" in path.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ["offset", "permuted", "unchanged"])
def test_every_items_own_test_fails_when_the_item_is_broken(mutant, tmp_path):
    out = tmp_path / "out.xml"
    files = [str(test_of(kind, name)) for kind, name in ITEMS]
    # Failures are what is wanted here: nothing draws their differences, which can take minutes for two long lists.
    options = ["-q", "-p", "no:cacheprovider", "-n", "0", "-m", "not slow", "--tb=no", "--assert=plain"]
    options += ["-o", "faulthandler_timeout=300"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--junit-xml={out}", *files],
        cwd=ROOT,
        env={**os.environ, "WHATELSE_MUTANT": mutant, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.exists(), run.stdout + run.stderr
    caught = {
        case.get("classname") for case in ElementTree.parse(out).iter("testcase") if case.find("failure") is not None
    }
    missed = [f"{k}:{n}" for k, n in ITEMS if not _caught(k, n, caught)]
    assert not missed, f"their tests pass although they are broken ({mutant}): {missed}"


def _caught(kind, name, caught):
    *folders, last = name.split(".")
    return ".".join(["tests", kind, *folders, f"test_{last}"]) in caught


@pytest.fixture(scope="module")
def images():
    """Images whose class is the brightest of three corners, by little: learned fast, and attacked easily."""
    rng = torch.Generator().manual_seed(5)
    targets = torch.arange(90) % 3
    inputs = 0.5 + 0.05 * torch.randn(90, 1, 8, 8, generator=rng)
    for i, (row, column) in enumerate(((0, 0), (0, 5), (5, 0))):
        inputs[targets == i, 0, row : row + 3, column : column + 3] += 0.12
    return inputs.clamp(0, 1), targets


@pytest.fixture(scope="module")
def models(images):
    """Two small networks that learned the images, from different seeds."""
    inputs, targets = images
    found = []
    for seed in (3, 4):
        rng = torch.Generator().manual_seed(seed)
        model = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng)
        loop.fit(model, inputs, loop.hard_labels(targets), loop.Schedule(40, 0.01, 15), rng)
        found.append(model)
    return found


def evidences(toy, images, models):
    inputs, targets = images
    rows = torch.arange(len(targets))
    observed = torch.where(rows % 7 == 0, (targets + 1) % 3, targets)
    masks = torch.zeros(inputs.shape, dtype=torch.bool)
    masks[:, :, :3] = True
    task = toy.task_of(
        inputs, targets, classes=3, bounds=(0, 1), observed=observed, groups={"style": rows % 2}, masks=masks
    )
    rng = torch.Generator().manual_seed(3)
    inside = torch.rand(4, 2 * len(targets), generator=rng) < 0.5
    inside[1], inside[3] = ~inside[0], ~inside[2]
    logits = torch.randn(4, 2 * len(targets), 3, generator=rng)
    moves = torch.rand(4, 2 * len(targets), 3, generator=rng)
    base = toy.evidence_of(models[0], task, name="baseline", shadows=lambda: toy.References(logits, inside, moves))
    mine = toy.evidence_of(models[1], task, reference=base, shadows=lambda: toy.References(logits + 0.1, inside, moves))
    return base, mine


@pytest.fixture(scope="module")
def texts():
    """Texts with one word of praise or of blame, and two small transformers that learned them, from different seeds."""
    words = ("", "(unknown)", "film", "trail", "trial", "plot", "great", "lovely", "awful", "dreary")
    rng = torch.Generator().manual_seed(5)
    targets = torch.arange(90) % 2
    ids = torch.randint(1, 6, (90, 8), generator=rng)
    ids[:, 2] = 8 - 2 * targets + torch.randint(2, (90,), generator=rng)
    ids[::3, 5:] = 0
    split = Split(ids.float(), targets, targets)
    task = Task("texts", 2, None, dict.fromkeys(SPLITS, split), vocabulary=len(words), words=words)
    found = []
    for seed in (3, 4):
        config = transformer.Config(vocabulary=len(words), width=8, heads=2, depth=1, hidden=8)
        model = transformer.build(config, (8,), 2, rng.manual_seed(seed))
        loop.fit(model, split.inputs, loop.hard_labels(targets), loop.Schedule(10, 0.02, 15), rng)
        found.append(subject.of(model, f"model {seed}", f"key {seed}", split.inputs, rng, tokens=True))
    return task, found


@pytest.fixture
def pair(toy, images, models, texts):
    """For a behaviour, what makes new evidence of baseline and candidate: of texts where it is about texts."""

    def pairs_for(name):
        if "texts" not in items.behaviour(name).needs:
            return lambda: evidences(toy, images, models)
        task, subjects = texts

        def of_texts():
            base = Evidence(subjects[0], task)
            return base, Evidence(subjects[1], task, reference=base)

        return of_texts

    return pairs_for


@pytest.mark.parametrize("check", [check_copy, check_training])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_does_what_it_says_and_nothing_else(check, name, toy, images, models):
    inputs, targets = images
    try:
        check(name, models[0], toy.task_of(inputs, targets, classes=3, bounds=(0, 1)))
    except MissingHardwareError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_repeats_and_can_be_summarised(name, pair):
    check_summaries(name, check_repeats(name, pair(name)))


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_costs_no_more_than_it_says(name, pair):
    check_cost(name, pair(name))


def told(**changed):
    """An answer of two rows, changed."""
    return dataclasses.replace(Answer({"value": torch.zeros(2)}), **changed)


@pytest.mark.parametrize(
    "broken",
    [
        torch.zeros(2),
        told(columns={"value": torch.zeros(2, dtype=torch.long)}),
        told(columns={"value": torch.tensor([0.0, float("nan")])}),
        told(rows=torch.arange(3)),
        told(parts=Parts(("one", "one"))),
        told(notes=["a list"]),
        told(notes=("two\nlines",)),
        told(doubts=("a text",)),
        told(ends={"best": 1.0}),
    ],
)
def test_what_is_no_answer_is_refused(broken):
    check_answer(told())
    with pytest.raises(AssertionError):
        check_answer(broken)


def item_of(monkeypatch, answer, summarise, **parts):
    """A behaviour made of functions, in the place of another one."""
    item = dataclasses.replace(items.behaviour("generalization.accuracy"), answer=answer, summarise=summarise, **parts)
    monkeypatch.setattr(items, "behaviour", lambda name: item)


def two_columns(baseline, candidate, config, rng):
    return Answer({"right": torch.tensor([1.0, 0, 1]), "twice": torch.tensor([2.0, 0, 2])})


def test_a_summary_by_the_order_of_columns_is_refused(monkeypatch):
    answer = two_columns(None, None, None, None)
    by_name = lambda answer, config, weights: weights @ answer["right"]  # noqa: E731
    item_of(monkeypatch, two_columns, by_name, by_part=None, outcomes=None)
    check_summaries("mine", answer)
    item_of(monkeypatch, two_columns, lambda answer, config, w: w @ answer.matrix()[:, 0], by_part=None, outcomes=None)
    with pytest.raises(AssertionError):
        check_summaries("mine", answer)


def test_a_behaviour_that_writes_on_the_evidence_is_refused(monkeypatch, toy, task, linear):
    def pair():
        base = toy.evidence_of(linear, task)
        return base, toy.evidence_of(linear, task, reference=base)

    item_of(monkeypatch, two_columns, None)
    check_repeats("mine", pair)

    def writes(baseline, candidate, config, rng):
        candidate.again += 1
        return two_columns(baseline, candidate, config, rng)

    item_of(monkeypatch, writes, None)
    with pytest.raises(AssertionError, match="say it in the answer"):
        check_repeats("mine", pair)
