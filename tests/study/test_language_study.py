"""A study of a model that is there: one baseline for all seeds, models shared by tasks, the noise of compressing."""

import importlib.util
import warnings
from pathlib import Path

import pytest

from whatelse.errors import StudyError
from whatelse.study import run_study, spec, worker
from whatelse.study.jobs import Handed, Made

pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parents[1] / "subjects" / "language.py")
models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(models)
SMALL = """
name = "little"
title = "little"
seeds = [0, 1]
draws = 200
[net]
model = "$LITTLE/model"
[tasks.documents]
data = "language"
title = "t"
baseline = ""
settings = { path = "text.txt", document = 150, calibration = "text.txt", windows = 4, window = 12 }
[tasks.minimal]
data = "language"
title = "m"
baseline = ""
settings = { path = "minimal.csv", calibration = "text.txt", document = 150, windows = 4, window = 12 }
[controls]
retest = ""
[[candidates]]
name = "all kept"
family = "prune"
recipe = "prune.magnitude(sparsity=0.0)"
control = "baseline"
[[candidates]]
name = "half"
family = "prune"
recipe = "prune.wanda(sparsity=0.5)"
control = "baseline"
own_controls = ["recompressed"]
[[rows]]
name = "r"
title = "R"
[[rows]]
name = "g"
title = "G"
[[measurements]]
row = "r"
item = "language.divergence"
label = "divergence"
tasks = ["documents"]
margin = 0.02
primary = true
[[measurements]]
row = "g"
item = "generalization.accuracy"
label = "grammar"
tasks = ["minimal"]
margin = 0.02
primary = true
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LITTLE", str(tmp_path))
    (tmp_path / "text.txt").write_text("\n\n".join(f"The {n} ran home to its {n}. " * 4 for n in "abcdefgh"), "utf-8")
    rows = "\n".join(f"The {n} was red.,The {n} were red." for n in "abcdef")
    (tmp_path / "minimal.csv").write_text(f"sentence_good,sentence_bad\n{rows}\n", "utf-8")
    with warnings.catch_warnings(action="ignore"):
        models.random(tmp_path / "model")
    return tmp_path


def test_one_model_is_the_baseline_of_every_seed_and_tasks_share_what_is_made_of_it(place):
    study = spec.parse(SMALL, "small")
    store, tasks, todo = run_study.prepared(study, place / "results")
    assert len({task.learned for task in tasks.values()}) == 1
    assert len({task.key for task in tasks.values()}) == 2
    of = {(j.task, j.seed, j.subject): j for j in todo.jobs}
    for job in todo.jobs:
        assert isinstance(job.before, Handed)
        assert isinstance(job.origin, Handed if job.subject in {"baseline", "retest"} else Made)
    keys = {name: of["documents", *name].origin.key for name in ((0, "half"), (1, "half"), (0, "half recompressed"))}
    assert len(set(keys.values())) == 3
    assert of["minimal", 0, "half"].origin.key == keys[0, "half"]
    found = run_study.run_study(study, place / "results", on="inline")
    assert not found.failed
    said = {(f.label, f.candidate): f for f in found.findings if f.leading}
    kept = said["divergence", "all kept"]
    assert (kept.before, kept.after, kept.effect) == (0.0, 0.0, 0.0)
    assert said["divergence", "retest"].effect == 0
    assert said["divergence", "half"].effect > 0.05
    assert len(set(said["divergence", "half"].per_seed)) == 2  # other windows, other weights
    floor = said["divergence", "half recompressed"]
    assert floor.control == "half"
    assert 0 < abs(floor.effect) < said["divergence", "half"].effect
    assert said["grammar", "half"].n == 6
    left = next(c.left_alone for c in found.candidates if c.name == "half")
    assert {"lm.model.embed_tokens", "lm.lm_head"} <= set(left)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('model = "$LITTLE/model"', 'model = "$LITTLE/model"\nitem = "cnn"', "give one of them"),
        ('retest = ""', 'twin = ""', "'twin' is a baseline of another seed, and net.model is one model"),
        ('model = "$LITTLE/model"', "", "no net named ''"),
    ],
)
def test_what_a_model_that_is_there_excludes_is_one_line(old, new, words):
    with pytest.raises(StudyError, match=words):
        spec.parse(SMALL.replace(old, new), "small")


def test_a_model_that_is_not_there_is_one_line(place, monkeypatch):
    study = spec.parse(SMALL, "small")
    task = worker.load_task(study, "documents")
    monkeypatch.setenv("LITTLE", str(place / "nowhere"))
    with pytest.raises(StudyError, match=r"net.model='\$LITTLE/model': there is no .*nowhere/model; set the variable"):
        worker.begun(study, task)
    monkeypatch.delenv("LITTLE")
    with pytest.raises(StudyError, match="the environment does not say what stands there"):
        worker.begun(study, task)


def test_the_study_that_ships_asks_what_an_audit_asks():
    study = spec.read("language")
    assert len(study.candidates) >= 10
    assert len(study.seeds) == 3
    asked = {m.item for m in study.measurements}
    wanted = {"likelihood", "divergence", "generation", "stereotype", "transitions", "margin", "tail", "likeliest"}
    assert {f"language.{name}" for name in wanted} <= asked
    assert {"generalization.flips", "generalization.calibration", "generalization.accuracy"} <= asked
    for name in study.tasks:
        task = worker.load_task(study, name)
        held = set(task.language.calibration.texts)
        assert held
        assert not held & {text for one in task.language.passages for text in one.continuations}
