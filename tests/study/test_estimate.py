from dataclasses import replace

import pytest

from whatelse import engines, recipe
from whatelse.store.folder import Folder
from whatelse.study import estimate, plan, run, run_study, spec, speed, worker

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

COSTLY = """
[[measurements]]
row = "overfitting"
item = "generalization.shift"
label = "under noise"
tasks = ["clean"]
margin = 0.02
"""
MEMBERS = """
[[measurements]]
row = "overfitting"
item = "membership.reference"
label = "membership"
tasks = ["clean"]
margin = 0.02
"""


def prepared(text, root):
    study = spec.parse(text, "small")
    tasks = {name: worker.load_task(study, name) for name in study.tasks}
    return study, plan.plan(study, {n: t.key for n, t in tasks.items()}), Folder(root), tasks


def of(text, root, workers=2):
    return left(*prepared(text, root), workers)


def left(study, todo, store, tasks, workers=2):
    return estimate.estimate(todo, store, tasks, workers, lambda name: speed.of_study(study, tasks[name]))


def test_every_pass_of_a_study_that_was_never_run_is_counted(small, tmp_path):
    found = of(small + COSTLY, tmp_path)
    test, train = 900, 600
    # Two seeds of: a baseline and a twin of six epochs, a placebo and a candidate of one more.
    assert found.training == 2 * (6 + 6 + 1 + 1) * 3 * train
    # Four models a seed: forward and back through test, forward through train, and five severities of noise.
    assert found.measuring == 2 * 4 * (2 * test + train + 5 * test)
    assert (found.left, found.total) == (10, 10)
    assert found.seconds > 1
    assert {c.name: c.passes for c in found.costs} == {
        "models, clean": found.training,
        "under noise": 2 * 4 * 5 * test,
        "shared by all measurements of a model": 2 * 4 * (2 * test + train),
    }
    assert [c.passes for c in found.costs] == sorted((c.passes for c in found.costs), reverse=True)
    assert of(small, tmp_path, workers=1).seconds > of(small, tmp_path, workers=8).seconds
    assert list(tmp_path.iterdir()) == []


def test_jobs_that_nothing_is_asked_of_are_neither_done_nor_counted(small, tmp_path):
    idle = small.replace("[controls]", '[tasks.idle]\ndata = "digits"\ntitle = "Idle"\nbaseline = ""\n[controls]')
    assert (of(idle, tmp_path).left, of(idle, tmp_path).total) == (9, 9)
    assert of(idle, tmp_path).training == of(small, tmp_path).training


def test_a_shadow_is_trained_on_half_of_the_records(small, tmp_path):
    alone = of(small, tmp_path)
    found = of(small.replace("[controls]", "references = 2\n[controls]") + MEMBERS, tmp_path)
    records = 600 + 600  # train, and as many of test
    # Of the twin there are none of its own: it has the baseline's.
    assert found.training - alone.training == 2 * (6 + 1 + 1) * 3 * records // 2
    assert {c.name for c in found.costs} >= {"models, clean", "shadow models, clean"}


def test_what_was_done_is_not_counted_again(small, tmp_path, inline):
    study, todo, store, tasks = prepared(small, tmp_path)

    def cut(progress):
        if progress.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(todo, store, lambda: inline, cut)
    whole, half = of(small, tmp_path / "none"), left(study, todo, store, tasks)
    assert 0 < half.left < whole.left == half.total
    assert 0 < half.training < whole.training
    assert 0 < half.measuring < whole.measuring
    run.run(todo, store, lambda: inline, lambda progress: None)
    done = left(study, todo, store, tasks)
    assert (done.left, done.training, done.measuring, done.seconds, done.costs) == (0, 0, 0, 0.0, ())


def test_models_that_are_kept_are_not_trained_again(small, tmp_path, inline):
    study, todo, store, _ = prepared(small, tmp_path)
    run.run(todo, store, lambda: inline, lambda progress: None)
    found = of(small + COSTLY, tmp_path)
    assert found.training == 0
    assert found.measuring == 2 * 4 * (2 * 900 + 600 + 5 * 900)


@pytest.mark.parametrize(
    ("text", "each"),
    [
        ("train.scratch(epochs=4)", 3 * 4),
        ("train.finetune(epochs=0)", 0),
        ("quantize.uniform()", 0),
        ("decompose.tucker(rounds=10)", 0),
        ("prune.magnitude()", 0),
        ("prune.magnitude(schedule='gradual', rounds=4, epochs=2)", 3 * 4 * 2),
        ("prune.lottery(rounds=3, epochs=5)", 3 * (1 + 3) * 5),
        ("prune.obd(rounds=2, epochs=1, curvature='fisher')", 2 * (1 + 3 + 3)),
        ("distill.logits(epochs=2)", 3 * 2),
        ("distill.labels(epochs=2, student='prune.magnitude() > train.finetune(epochs=3)')", 3 * (2 + 3)),
        ("distill.defensive(epochs=2)", 3 * 2 * 2 + 1),
        ("train.adversarial(epochs=2, steps=7)", (2 * 7 + 3) * 2),
        ("distill.robust(epochs=2, steps=7, mix=1.0, teacher='train.finetune(epochs=1)')", (2 * 7 + 3) * 2 + 1 + 3),
    ],
)
def test_a_step_is_as_long_as_its_settings_say(text, each, small, tmp_path):
    task = prepared(small, tmp_path)[3]["clean"]
    (step,) = recipe.parse(text)
    assert estimate.training(step, task) == each * len(task.train)


def test_the_line_says_how_much_and_how_long():
    found = estimate.Estimate(412, 430, 11_200_000, 7_100_000, 240.0, 2, ())
    assert str(found) == (
        "to do: 412 of 430 jobs, 18.3 million forward-equivalents (11.2 million training, at most 7.1 million "
        "measuring), about 4 min on 2 workers"
    )
    short = str(replace(found, training=950, measuring=12_345, seconds=7.4, workers=1))
    assert "13.3 thousand forward-equivalents (950 training, at most 12.3 thousand measuring)" in short
    assert short.endswith("about 7 s on 1 worker")
    assert str(replace(found, memory=3 * 2**29)).endswith("about 4 min on 2 workers of 1.5 GiB each")
    assert "about 2.5 h" in str(replace(found, seconds=9000.0))
    fewer = replace(found, memory=3 * 2**29, asked=8)
    assert str(fewer).endswith("on 2 workers of 1.5 GiB each, not 8: there is no memory for more")


@pytest.mark.parametrize(("free", "taken"), [(0, 8), (10 * 2**30, 8), (7 * 2**30 - 1, 6), (2**29, 1)])
def test_as_many_workers_as_memory_carries(small, tmp_path, free, taken):
    study, todo, store, tasks = prepared(small, tmp_path)
    each = speed.Speed(1e-6, 1e-6, 2**30)
    found = estimate.estimate(todo, store, tasks, 8, lambda _: each, free)
    assert (found.workers, found.asked, found.memory) == (taken, 8, 2**30)
    assert estimate.estimate(todo, store, tasks, 8, lambda _: replace(each, memory=0), free).workers == 8


def test_a_study_takes_fewer_workers_and_says_so_beforehand(small, tmp_path, monkeypatch):
    begun, heard = [], []

    def engine(name, workers, former=run.engine):
        begun.append((name, workers))
        return former("inline", 1)

    monkeypatch.setattr(run, "engine", engine)
    monkeypatch.setattr(speed, "of_study", lambda *_: speed.Speed(1e-6, 1e-6, 2**30))
    monkeypatch.setattr(engines, "free", lambda: 3 * 2**30)
    study = replace(spec.parse(small, "small"), seeds=[0])
    run_study.run_study(study, tmp_path / "one", workers=8, announce=heard.append)
    run_study.run_study(study, tmp_path / "other", workers=8, on="inline", announce=heard.append)
    assert begun == [("processes", 3), ("inline", 8)]
    assert (heard[0].workers, heard[0].asked) == (3, 8)
    assert "on 3 workers of 1.0 GiB each, not 8" in str(heard[0])


def test_a_study_says_it_once_before_it_starts_and_nothing_when_all_is_done(small, tmp_path, inline, monkeypatch):
    monkeypatch.setattr(run, "engine", lambda on, workers: inline)
    study, told = spec.parse(small, "small"), []

    def announce(found):
        told.append(found)
        assert not (tmp_path / "models").exists(), "before any work"

    assert run_study.dry_run(study, tmp_path).left == 9
    run_study.run_study(study, tmp_path, announce=announce)
    assert [found.left for found in told] == [9]
    run_study.run_study(study, tmp_path, announce=announce)
    assert len(told) == 1
    assert run_study.dry_run(study, tmp_path).left == 0
