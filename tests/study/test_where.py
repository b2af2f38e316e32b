import pytest
import torch

import whatelse
from whatelse.artifacts import folder
from whatelse.auditing.questions import read_questions
from whatelse.nets import cnn
from whatelse.study import audit, estimate, run

pytestmark = pytest.mark.slow  # whole models: not for every save

ASKED = """
name = "short"
title = "Short"
draws = 200
[[rows]]
name = "performance"
title = "Accuracy"
[[measurements]]
row = "performance"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.02
primary = true
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    task, root = whatelse.load_task("digits"), tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "small")):
        net = cnn.build(cnn.Config(), task.shape, task.classes, torch.Generator().manual_seed(seed))
        folder.save(net.eval(), root / name)
    return str(root / "base"), str(root / "small")


@pytest.mark.parametrize(
    ("alone", "more", "where"),
    [
        (6.0, {}, "inline"),
        (60.0, {}, "processes"),
        (6.0, {"workers": 1}, "processes"),
        (60.0, {"on": "inline"}, "inline"),
    ],
)
def test_what_is_done_before_workers_have_started_is_done_here(folders, monkeypatch, alone, more, where):
    base, small = folders
    begun, heard, threads = [], [], []

    def engine(name, workers, former=run.engine):
        begun.append(name)
        threads.append(torch.get_num_threads())
        return former("inline" if name == "inline" else "processes", workers or 1)

    told = estimate.Estimate(2, 2, 0, 10, 4.0, 2, (), alone=alone)
    monkeypatch.setattr(run, "engine", engine)
    monkeypatch.setattr(estimate, "estimate", lambda *_: told)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        audit.audit(base, {"small": small}, "digits", read_questions(ASKED), announce=heard.append, **more)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert begun == [where]
    assert threads == [1 if where == "inline" and not more else 2]
    assert heard == [told]
