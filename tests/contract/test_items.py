"""What every method and every behaviour must do. New files are picked up by their path."""

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

from whatelse import recipe, registry
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
every_item = pytest.mark.parametrize(("kind", "name"), ITEMS, ids=[":".join(i) for i in ITEMS])


def entry(kind, item):
    return "compress" if kind == "methods" else "compare" if "compare" in vars(item) else "measure"


def test_of(kind, name):
    *folders, last = name.split(".")
    return ROOT.joinpath("tests", kind, *folders, f"test_{last}.py")


test_of.__test__ = False


@every_item
def test_it_has_the_parts_in_order(kind, name):
    item = registry.load(kind, name)
    part = entry(kind, item)
    assert re.search(r"^Source:\n    \S", item.__doc__, re.M), "say where it comes from"
    assert isinstance(item.VERSION, int)
    assert dataclasses.is_dataclass(item.Config)
    assert item.Config.__dataclass_params__.frozen
    item.Config()  # every setting has a default
    assert all(f.metadata.get("help") for f in dataclasses.fields(item.Config))
    asked = {
        "compress": ["model", "config", "task", "rng"],
        "measure": ["evidence", "config", "rng"],
        "compare": ["baseline", "candidate", "config", "rng"],
    }
    assert list(inspect.signature(getattr(item, part)).parameters) == asked[part]
    public = [
        n for n, v in vars(item).items() if not n.startswith("_") and getattr(v, "__module__", None) == item.__name__
    ]
    rest = ["summarise", "by_part", "outcomes", "effort"] if kind == "behaviours" else ["effort"]
    assert public == ["Config", part, *(n for n in rest if n in (*public, "summarise"))]
    assert ("by_part" in public) == ("PARTS" in vars(item)), "PARTS says what a breakdown's parts are"
    if "effort" in public:
        assert list(inspect.signature(item.effort).parameters) == ["config", "task"]


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_says_what_its_numbers_are(name):
    item = registry.load("behaviours", name)
    assert item.BETTER in {"higher", "lower"}
    assert item.UNIT
    assert item.NEEDS <= NEEDS
    assert item.UNIT_OF_ANALYSIS in UNIT_OF_ANALYSIS


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_says_where_its_scale_ends(name):
    """Where nothing is left to lose, and what is said of a model that nothing is seen of: decision 0022."""
    item = registry.load("behaviours", name)
    ends = {word: vars(item)[word] for word in ("WORST", "BLIND")}
    assert all(end is None or isinstance(end, float) for end in ends.values())
    if ends["WORST"] is not None and ends["BLIND"] is not None:
        assert (ends["WORST"] <= ends["BLIND"]) == (item.BETTER == "higher")
    if "RANGE" in vars(item):
        assert ends["WORST"] == item.RANGE[item.BETTER == "lower"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_names_its_knob_and_its_place_in_a_recipe(name):
    item = registry.load("methods", name)
    assert item.TAKES
    assert set(recipe.STATES) >= item.TAKES
    assert item.LEAVES in {"", *recipe.STATES}
    assert item.KNOB == "" or item.KNOB in {f.name for f in dataclasses.fields(item.Config)}


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


def pair(item, toy, images, models, texts):
    """Evidence of baseline and candidate, on texts for an item that is about texts."""
    if "texts" not in item.NEEDS:
        return evidences(toy, images, models)
    task, subjects = texts
    base = Evidence(subjects[0], task)
    return base, Evidence(subjects[1], task, reference=base)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_leaves_its_input_and_the_process_alone(name, toy, images, models):
    inputs, targets = images
    task = toy.task_of(inputs, targets, classes=3, bounds=(0, 1))
    model = models[0]
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    item = registry.load("methods", name)
    fields = {f.name for f in dataclasses.fields(item.Config)}
    config = dataclasses.replace(item.Config(), **({"epochs": 1} if "epochs" in fields else {}))
    try:
        one, two = (item.compress(model, config, task, torch.Generator().manual_seed(7)) for _ in range(2))
    except MissingHardwareError as error:
        pytest.skip(str(error))
    assert one is not model
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert one(inputs).shape == (90, 3)
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


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_about_as_long_as_is_said_of_it(name, toy, images, models):
    inputs, targets = images
    task = toy.task_of(inputs, targets, classes=3, bounds=(0, 1))
    item, long = registry.load("methods", name), 12
    given = {"epochs": long} if "epochs" in {f.name for f in dataclasses.fields(item.Config)} else {}
    with asked(inputs.shape[1:]) as seen:
        try:
            item.compress(models[0], item.Config(**given), task, torch.Generator().manual_seed(7))
        except MissingHardwareError as error:
            pytest.skip(str(error))
    said = estimate.training(recipe.Step(name, tuple(given.items())), task)
    # Besides training a method may look at all examples a few times: teachers, gradients, scales layer by layer.
    trained = seen["examples"] - 8 * len(targets)
    assert said >= 1.5 * trained, "say in `effort` how long it trains"
    assert said <= 6 * (seen["examples"] + long * len(targets)), "an estimate that says nothing"


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_repeats_and_leaves_the_model_and_the_process_alone(name, toy, images, models, texts):
    item = registry.load("behaviours", name)
    state = torch.get_rng_state()
    found = []
    for _ in range(2):
        base, mine = pair(item, toy, images, models, texts)
        weights = copy.deepcopy(mine.model.state_dict())
        rng = torch.Generator().manual_seed(7)
        try:
            if "compare" in vars(item):
                values = item.compare(base, mine, item.Config(), rng)
            else:
                values = item.measure(mine, item.Config(), rng)
        except NotMeasurableError as error:
            pytest.fail(f"not measurable on a task that has everything: {error}")
        found.append(values)
        assert all(torch.equal(weights[k], v) for k, v in mine.model.state_dict().items())
        assert not any(m._forward_hooks for m in mine.model.modules()), "a hook was left behind"
    assert found[0].dtype in {torch.float32, torch.float64}  # counts above 2**24 are exact in double precision alone
    assert found[0].isfinite().all()
    assert found[0].shape == found[1].shape
    if item.UNIT_OF_ANALYSIS != "turn":  # wall times do not repeat
        assert torch.equal(found[0], found[1]), "same seed, same values"
    assert torch.equal(state, torch.get_rng_state()), "the generator of the process was used"
    counts = np.ones((3, len(found[0])))
    summary = item.summarise(found[0].numpy().astype(float), counts)
    assert summary.shape == (3,)
    assert summary[0] == summary[2]
    if "by_part" in vars(item):
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = item.by_part(found[0].numpy().astype(float), counts)
        assert parts.shape == (3, len(mine.parts)), "a name for every part"
        assert len(set(mine.parts)) == len(mine.parts)
        # Alike but for rounding: a product of matrices may sum its last rows in another order than its first.
        assert np.allclose(parts[0], parts[2], rtol=1e-9, atol=1e-12, equal_nan=True)


def _measured(name, toy, images, models, texts):
    """The evidence of a pair of models after one cell with default settings, and what the item says it costs."""
    item = registry.load("behaviours", name)
    base, mine = pair(item, toy, images, models, texts)
    rng, config = torch.Generator().manual_seed(7), item.Config()
    item.compare(base, mine, config, rng) if "compare" in vars(item) else item.measure(mine, config, rng)
    return base, mine, item.effort(config, mine.task) if "effort" in vars(item) else 0


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_costs_no_more_than_it_says(name, toy, images, models, texts):
    base, mine, effort = _measured(name, toy, images, models, texts)
    spent = sum(e.passes.forward + e.passes.backward for e in (base, mine))
    splits = {split: len(examples) for split, examples in mine.task.splits.items()}
    shared = 2 * (sum(splits.values()) + splits["test"])  # of both models; gradients of test alone
    assert spent <= effort + shared, "say in `effort` what it costs beyond the shared passes"
    assert effort <= 10 * spent + 1000, "an estimate that says nothing"
