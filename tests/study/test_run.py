import json
from concurrent.futures import Future
from dataclasses import replace

import pytest
import torch

from whatelse import items, registry
from whatelse.auditing.ask import Failed
from whatelse.auditing.effects import Moved, of_kept
from whatelse.engines.inline import Inline
from whatelse.errors import StoreError, StudyError, TaskError
from whatelse.findings import codec, record
from whatelse.statistics import seeds
from whatelse.store.folder import Folder
from whatelse.study import plan, run, run_study, spec, worker

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save


def prepared(text, root):
    study = spec.parse(text, "small")
    tasks = {name: worker.load_task(study, name) for name in study.tasks}
    return study, plan.plan(study, {n: t.key for n, t in tasks.items()}), Folder(root)


def quiet(progress):
    del progress


def effects_of(todo, store):
    return [store.load_record("effects", e.key) for e in todo.effects]


def test_a_second_run_finds_everything_done(small, tmp_path, inline):
    study, todo, store = prepared(small, tmp_path)
    first = run.run(todo, store, lambda: inline, quiet)
    assert first.done == first.total == 9
    assert not [f for r in first.reports for f in r.failed]

    def never():
        raise AssertionError("nothing is missing")

    second = run.run(todo, store, never, quiet)
    assert second.done == 9
    assert second.reports == []


def test_a_run_that_was_cut_goes_on_and_ends_the_same(small, tmp_path, inline):
    study, todo, store = prepared(small, tmp_path / "cut")
    shown = []

    def cut(progress):
        shown.append(progress.done)
        if progress.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(todo, store, lambda: inline, cut)
    jobs, _ = run.missing(todo, store)
    assert 0 < len(jobs) < len(todo.jobs)
    run.run(todo, store, lambda: inline, quiet)
    whole = Folder(tmp_path / "whole")
    run.run(todo, whole, lambda: inline, quiet)
    assert effects_of(todo, store) == effects_of(todo, whole)


def test_worker_processes_give_the_same_numbers(small, tmp_path, inline):
    study, todo, here = prepared(small, tmp_path / "here")
    run.run(todo, here, lambda: run.engine("processes", 2), quiet)
    alone = Folder(tmp_path / "alone")
    threads = torch.get_num_threads()
    assert threads >= 1
    run.run(todo, alone, lambda: inline, quiet)
    a, b = effects_of(todo, here), effects_of(todo, alone)
    if threads == 1:
        assert a == b
    assert [e["candidate"] for e in a[0]["effects"]] == [e["candidate"] for e in b[0]["effects"]]


def test_a_behaviour_that_raises_fails_alone(small, tmp_path, inline, monkeypatch):
    item = registry.load("behaviours", "generalization.accuracy")
    whole = item.measure

    def raises(evidence, config, rng):
        if evidence.subject.name == "half":
            raise RuntimeError("broken on purpose")
        return whole(evidence, config, rng)

    monkeypatch.setattr(item, "measure", raises)
    items._behaviour.cache_clear()
    study, todo, store = prepared(small, tmp_path)
    progress = run.run(todo, store, lambda: inline, quiet)
    failed = [name for r in progress.reports for name, _ in r.failed]
    assert failed == [f"clean · seed {s} · half · accuracy" for s in (0, 1)]
    (effects,) = effects_of(todo, store)
    by_pair = {(e.candidate, e.control): e.outcome for e in of_kept(effects)}
    assert isinstance(by_pair["twin", "baseline"], Moved)
    assert by_pair["half", "placebo"] == Failed("RuntimeError: broken on purpose")
    monkeypatch.setattr(item, "measure", whole)
    items._behaviour.cache_clear()
    run.run(todo, store, lambda: inline, quiet)
    assert all(isinstance(e.outcome, Moved) for e in of_kept(effects_of(todo, store)[0])), (
        "a failed cell is tried again"
    )


def test_a_method_that_raises_fails_its_candidate_alone(small, tmp_path, inline, monkeypatch):
    item = registry.load("methods", "prune.magnitude")

    def raises(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(item, "compress", raises)
    study, todo, store = prepared(small, tmp_path)
    progress = run.run(todo, store, lambda: inline, quiet)
    assert progress.done == progress.total
    assert len([f for r in progress.reports for f in r.failed]) == 2


def test_a_model_that_cannot_be_saved_fails_its_candidate_alone(small, tmp_path, inline, monkeypatch):
    item = registry.load("methods", "prune.magnitude")
    monkeypatch.setattr(item, "compress", lambda model, *_: torch.nn.Sequential(model, torch.nn.Hardshrink()))
    study, todo, store = prepared(small, tmp_path)
    progress = run.run(todo, store, lambda: inline, quiet)
    failed = [error for r in progress.reports for _, error in r.failed]
    assert len(failed) == 2
    assert all("cannot save a layer of type Hardshrink" in error for error in failed)


def test_a_network_that_does_not_fit_is_refused_before_any_work(small, tmp_path):
    text = small.replace('title = "Digits"', 'title = "Digits"\nsettings = { canvas = 10 }')
    with pytest.raises(TaskError, match="sides multiples of 4"):
        run_study.run_study(spec.parse(text, "small"), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_results_that_cannot_be_written_stop_the_run(small, tmp_path, inline):
    study, todo, _ = prepared(small, tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="finished cells are kept"):
        run.run(todo, Folder(tmp_path / "file"), lambda: inline, quiet)


def test_an_unknown_engine_is_named():
    with pytest.raises(StudyError, match="--on 'rai': no such engine; did you mean ray"):
        run.engine("rai", 0)


def test_findings_are_json_and_complete(small, tmp_path, inline, monkeypatch):
    monkeypatch.setattr(run, "engine", lambda *_: inline)
    found = run_study.run_study(spec.parse(small, "small"), tmp_path, show_examples=True)
    again = run_study.run_study(spec.parse(small, "small"), tmp_path, show_examples=True)
    json.loads(codec.dumps(found))
    assert replace(found, created="") == replace(again, created="")
    lead = [f for f in found.findings if f.primary and f.candidate == "half"]
    assert [f.control for f in lead] == ["placebo"]
    assert lead[0].before + lead[0].effect == pytest.approx(lead[0].after)
    assert lead[0].n == 900
    assert len(lead[0].per_seed) == 2
    assert lead[0].floor > 0
    assert found.timing.training_s > 0
    assert found.exhibits[0].candidate == "half"
    item = found.exhibits[0].items[0]
    assert item.before == item.truth != item.after
    unasked = run_study.run_study(spec.parse(small, "small"), tmp_path)
    assert [(e.items, e.left_out) for e in unasked.exhibits] == [((), len(e.items)) for e in found.exhibits]


def test_a_study_tells_the_floors_of_measuring_and_of_compressing(small, tmp_path, inline, monkeypatch):
    monkeypatch.setattr(run, "engine", lambda *_: inline)
    text = small.replace('twin = ""', 'twin = ""\nretest = ""').replace(
        'level = "strong"', 'level = "strong"\nown_controls = ["recompressed"]'
    )
    text += """
[[measurements]]
row = "overfitting"
item = "attribution.infidelity"
label = "infidelity"
settings = { examples = 40, samples = 8 }
tasks = ["clean"]
margin = 0.01
"""
    found = run_study.run_study(spec.parse(text, "small"), tmp_path)
    mine = {f.label: f for f in found.findings if f.candidate == "half" and f.leading}
    assert mine["accuracy"].floors.measurement == 0
    assert mine["infidelity"].floors.measurement > 0
    again = next(f for f in found.findings if f.candidate == "half recompressed" and f.label == "accuracy")
    assert again.control == "half"
    assert mine["accuracy"].floors.compression == pytest.approx(seeds.floor(again.per_seed))
    assert any(again.per_seed)
    roles = {c.name: c.role for c in found.candidates}
    assert (roles["half recompressed"], roles["retest"]) == ("recompressed", "retest")
    assert record.parse(codec.to_json(found), "small") == found


def test_shadows_see_each_record_in_half_of_the_pairs(small):
    study = spec.parse(small, "small")
    task = worker.load_task(study, "clean")
    inside = torch.stack([worker.shadow_members(task, k)[0] for k in range(4)])
    assert inside.shape == (4, 1200)
    assert inside.sum(0).eq(2).all()
    shadow = worker.shadow_task(task, 1)
    assert len(shadow.train) == 600
    pool = torch.cat([task.train.inputs, task.test.inputs[:600]])
    assert torch.equal(shadow.train.inputs, pool[inside[1]])
    assert torch.equal(shadow.test.inputs, task.test.inputs)


class Broken(Inline):
    """Some jobs never get as far as their cells, as where a machine is out of memory."""

    def submit(self, call, /, *args, needs):
        if args[0].name in self.lost:
            future = Future()
            future.set_exception(RuntimeError("the machine\nhas no memory left"))
            return future
        return super().submit(call, *args, needs=needs)


def test_a_job_that_an_engine_could_not_do_is_named_in_the_findings_and_tried_again(small, tmp_path):
    engine, study = Broken(), spec.parse(small, "small")
    engine.lost = {"clean · seed 1 · half"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "engine", lambda *_: engine)
        found = run_study.run_study(study, tmp_path, on="inline")
    assert [(one.cell, one.error) for one in found.failed] == [
        ("clean · seed 1 · half · accuracy", "RuntimeError: the machine has no memory left")
    ]
    assert not run_study.run_study(study, tmp_path, on="inline").failed


def test_an_analysis_that_an_engine_could_not_do_is_told(small, tmp_path):
    engine, remarks = Broken(), []
    study, todo, store = prepared(small, tmp_path)
    engine.lost = {effects.name for effects in todo.effects}
    run.run(todo, store, lambda: engine, lambda state: remarks.extend(state.remarks))
    assert f"{todo.effects[0].name} failed: RuntimeError: the machine has no memory left" in remarks


def test_a_worker_that_sees_another_folder_refuses_before_it_works(small, tmp_path):
    study, todo, store = prepared(small, tmp_path)
    store.prepare()
    with pytest.raises(StoreError, match="does not see the results in .*: all of them need a place that they reach"):
        worker.work_on(todo.jobs[0], store, "no such mark")
    assert not list(tmp_path.rglob("*.safetensors"))
