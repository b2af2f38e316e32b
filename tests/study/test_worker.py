"""What shadow models keep."""

from dataclasses import replace

import pytest
import torch

from whatelse.auditing.ask import of_kept
from whatelse.evidence.cache import Evidence
from whatelse.store.folder import Folder
from whatelse.study import plan, run, spec, worker

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save


@pytest.fixture
def asked(small, tmp_path, inline):
    """Run a study with two shadow models a recipe; give its jobs and its store."""

    def do(item):
        text = small.replace("values = { epochs = 6 }", "values = { epochs = 1 }\nreferences = 2")
        text = text.replace("seeds = [0, 1]", "seeds = [0]").replace("generalization.accuracy", item)
        study, store = spec.parse(text, "small"), Folder(tmp_path)
        todo = plan.plan(study, {name: worker.load_task(study, name).key for name in study.tasks})
        done = run.run(todo, store, lambda: inline, lambda _: None)
        assert not [f for r in done.reports for f in r.failed]
        return todo.jobs, store, worker.load_task(study, "clean")

    return do


def test_shadow_models_keep_their_sensitivity_for_a_question_that_needs_it(asked):
    jobs, store, task = asked("membership.sensitivity")
    half = next(j for j in jobs if j.subject == "half" and j.shadow is None)
    found = worker._shadows(half.shadows, store)()
    assert found.logits.shape == found.sensitivity.shape == (2, 1200, 10)
    assert torch.equal(found.inside[0], ~found.inside[1])
    shadow = next(j for j in jobs if j.subject == "half" and j.shadow == 1)
    model = store.load_model(shadow.chain[-1].key)
    own = Evidence(worker.subject_of(model, "half", "", task), task)
    assert torch.equal(found.sensitivity[1, :600], own.sensitivity(task.train.inputs))
    assert torch.equal(found.sensitivity[1, 600:], own.sensitivity(task.test.inputs[:600]))
    assert of_kept(*store.load("values", half.cells[0].key)).answer.matrix().shape == (1200, 2)


def test_they_do_not_where_none_does_and_add_it_later_without_making_anything_else_again(asked):
    jobs, store, _ = asked("membership.reference")
    shadows = [j for j in jobs if j.shadow is not None]
    assert all(worker._shadows(tuple(c.key for c in j.cells), store)().sensitivity is None for j in shadows)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("shadow-*")}
    assert len(before) == len(shadows) == 6
    models = {path: path.stat().st_mtime_ns for path in (store.root / "models").iterdir()}
    jobs, store, _ = asked("membership.sensitivity")
    assert len(list(store.root.rglob("shadow.sensitivity-*"))) == len(shadows)
    assert {**before, **models} == {path: path.stat().st_mtime_ns for path in (*before, *models)}
    assert set(models) == set((store.root / "models").iterdir())


def test_of_token_ids_there_is_none_and_other_questions_go_on(asked, tmp_path):
    jobs, _, task = asked("membership.sensitivity")
    job, store = next(j for j in jobs if j.shadow is not None), Folder(tmp_path / "texts")
    texts = replace(task, vocabulary=50)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    seen = Evidence(worker.subject_of(model, "texts", "", task), texts)
    worker._keep_shadow(job, job.cells, seen, store)
    found = worker._shadows(tuple(c.key for c in job.cells), store)()
    assert found.sensitivity is None
    assert found.logits.shape == (1, 1200, 10)
