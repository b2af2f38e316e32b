"""What is reported is what was run: of a file, of a study changed in memory, of data that change on disk."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from whatelse.auditing import questions
from whatelse.auditing.questions import Measurement
from whatelse.errors import StudyError, WhatElseError
from whatelse.findings.record import Study, Timing
from whatelse.store.folder import Folder
from whatelse.study import audit, plan, run, run_study, spec, worker
from whatelse.study.spec import Net

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

MORE = """
[[measurements]]
row = "overfitting"
item = "generalization.calibration"
label = "calibration"
tasks = ["own"]
margin = 0.02
"""


@pytest.fixture
def found(tmp_path, inline, monkeypatch):
    """The findings of a study, in a folder of results, without what differs from one run to the next."""
    monkeypatch.setattr(run, "engine", lambda *_: inline)

    def conducted(study, results="results", **given):
        record = run_study.run_study(study, tmp_path / results, **given)
        return replace(record, created="", timing=Timing())

    return conducted


def said_by(record):
    """The study that the findings say was run."""
    return spec.parse(record.study.file, "findings")


NOTHING = Study("", "", "", "")


def without_text(record):
    return replace(record, study=NOTHING)


def tasks_changed(study, **given):
    return replace(study, tasks={"own": replace(study.tasks["own"], **given)})


CHANGES = {
    "seeds": (lambda s: replace(s, seeds=[3]), ("seeds = [0, 1]", "seeds = [3]")),
    "net": (lambda s: replace(s, net=Net("mlp", {"hidden": "9x5"})), ('hidden = "6"', 'hidden = "9x5"')),
    "data": (
        lambda s: tasks_changed(s, settings={**s.tasks["own"].settings, "limit": 40}),
        ("settings = { path", "settings = { limit = 40, path"),
    ),
    "values": (lambda s: tasks_changed(s, values={"epochs": 1}), ("epochs = 2", "epochs = 1")),
    "shadows": (lambda s: tasks_changed(s, references=4), ("references = 2", "references = 4")),
    "controls": (
        lambda s: replace(s, controls={**s.controls, "placebo": "train.finetune(epochs=2)"}),
        ('placebo = "train.finetune(epochs=1, batch=20)"', 'placebo = "train.finetune(epochs=2)"'),
    ),
    "candidates": (
        lambda s: replace(s, candidates=[replace(s.candidates[0], recipe="prune.magnitude(sparsity=0.2)")]),
        ("prune.magnitude(sparsity=0.8) > train.finetune(epochs=1, batch=20)", "prune.magnitude(sparsity=0.2)"),
    ),
    "measurements": (
        lambda s: replace(
            s,
            measurements=[
                *s.measurements,
                Measurement("overfitting", "generalization.calibration", ["own"], 0.02, "calibration"),
            ],
        ),
        ("", ""),
    ),
    "label": (
        lambda s: replace(s, measurements=[replace(s.measurements[0], label="right"), s.measurements[1]]),
        ('label = "accuracy"', 'label = "right"'),
    ),
    "margin": (
        lambda s: replace(s, measurements=[replace(s.measurements[0], margin=0.5), s.measurements[1]]),
        ("margin = 0.02\nprimary", "margin = 0.5\nprimary"),
    ),
    "level": (
        lambda s: replace(s, candidates=[replace(s.candidates[0], level="mild")]),
        ('level = "strong"', 'level = "mild"'),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_study_changed_in_memory_is_the_study_of_the_file_that_says_the_same(what, tiny, found):
    change, (old, new) = CHANGES[what]
    study = spec.parse(tiny, "tiny")
    first = found(study)
    changed = found(change(study))  # into the results of the other, which must not be taken for its own
    text = tiny.replace(old, new, 1) if old else tiny + MORE
    assert text != tiny
    of_file = found(spec.parse(text, "tiny"), "fresh")
    assert without_text(changed) == without_text(of_file)
    assert without_text(changed) != without_text(first)
    assert first.study.file == tiny
    assert changed.study.file.startswith("# Written from what was asked in memory: no file says it.\n")
    assert replace(said_by(changed), text="") == replace(change(study), text="")


def test_a_study_made_in_memory_alone_says_what_it_asked(tiny, found):
    study = spec.parse(tiny, "tiny")
    made = found(replace(study, text=""))
    assert without_text(made) == without_text(found(study))
    assert replace(said_by(made), text="") == replace(study, text="")


def test_values_of_numpy_are_as_good_as_those_of_a_file(tiny, found):
    study = spec.parse(tiny, "tiny")
    asked = replace(study, seeds=tuple(np.arange(2)), draws=np.int64(100))
    assert without_text(found(asked)) == without_text(found(study))


def test_what_is_marked_full_is_said_without_the_mark(tiny, found):
    study = spec.parse(tiny.replace('level = "strong"', 'level = "strong"\ntier = "full"'), "tiny", tier="full")
    whole = found(study)
    assert 'tier = "full"' in whole.study.file, "not changed: its file"
    changed = found(replace(study, title="Other"))
    assert without_text(changed) == without_text(whole)
    assert [c.name for c in said_by(changed).candidates] == ["half"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: replace(s, seeds=[]), r"study\.seeds=\[\]; at least one"),
        (lambda s: replace(s, seeds=[0.5]), r"study\.seeds\[0\]: got 0\.5"),
        (lambda s: replace(s, net=Net("mpl")), "no net named 'mpl'; did you mean mlp"),
        (lambda s: replace(s, controls={"placbo": ""}), "no 'placbo'; did you mean placebo"),
        (lambda s: replace(s, draws=None), r"draws"),
        (lambda s: tasks_changed(s, values={"epochs": object()}), r"study\.tasks\.own\.values\.epochs=<object"),
        (lambda s: replace(s, candidates=[replace(s.candidates[0], recipe="prune")]), "recipe"),
    ],
)
def test_a_change_that_does_not_hold_together_is_refused_before_any_work(change, words, tiny, tmp_path):
    with pytest.raises(WhatElseError, match=words) as refused:
        run_study.run_study(change(spec.parse(tiny, "tiny")), tmp_path / "none")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "none").exists()


def test_a_job_is_small_and_travels_by_itself(tiny):
    study = spec.parse(tiny, "tiny")
    task = worker.load_task(study, "own")
    for job in plan.plan(study, {"own": task.key}, {"own": task.names}).jobs:
        sent = pickle.dumps(job)
        assert len(sent) < 4000
        assert pickle.loads(sent) == job
        assert hash(job.data) == hash(pickle.loads(sent).data)


def test_data_that_change_after_the_work_was_planned_are_refused(tiny, arrays, tmp_path, inline):
    study = spec.parse(tiny, "tiny")
    task = worker.load_task(study, "own")
    todo, store = plan.plan(study, {"own": task.key}, {"own": task.names}), Folder(tmp_path / "results")
    arrays(tmp_path / "own.npz", seed=1)
    with pytest.raises(StudyError, match=r"tasks\.own: its data changed on disk after the work was planned") as refused:
        run.run(todo, store, lambda: inline, lambda _: None)
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "results").rglob("*.safetensors"))
    arrays(tmp_path / "own.npz")
    assert run.run(todo, store, lambda: inline, lambda _: None).done == len(todo.jobs) + len(todo.effects)


def test_names_of_groups_that_change_are_refused_too(tiny, tmp_path, inline):
    study = spec.parse(tiny, "tiny")
    task = worker.load_task(study, "own")
    todo = plan.plan(study, {"own": task.key}, {"own": "other names"})
    with pytest.raises(StudyError, match="its data changed on disk"):
        run.run(todo, Folder(tmp_path / "results"), lambda: inline, lambda _: None)


def test_questions_changed_in_memory_are_said_as_they_were_asked(linear, task):
    asked = questions.read_questions(questions.default())
    first = next(m for m in asked.measurements if m.item == "generalization.accuracy")
    few = replace(asked, measurements=[replace(first, margin=0.25)], draws=200)
    record = audit.audit(linear, {"same": linear}, task, few)
    told = questions.read_questions(record.study.file)
    assert [(m.label, m.margin) for m in told.measurements] == [(first.label, 0.25)]
    assert record.study.draws == told.draws == 200
    assert audit.audit(linear, {"same": linear}, task, asked).study.file == questions.default()
    with pytest.raises(StudyError, match="changed in memory: draws=3"):
        audit.audit(linear, {"same": linear}, task, replace(asked, draws=3))
