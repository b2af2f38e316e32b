"""The same pair audited as modules, through ONNX and through an endpoint: what only needs answers is the same."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from whatelse.auditing.questions import read_questions
from whatelse.cli.app import app
from whatelse.study.audit import audit

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

ITEMS = {
    "generalization.accuracy": "",
    "generalization.flips": "",
    "generalization.likelihood": "",
    "generalization.calibration": "",
    "fairness.worst_group": "",
    "fairness.group": "",
    "membership.loss": "",
    "robustness.accuracy": 'settings = { radius = 0.1, steps = 5, queries = 30, examples = 60, norm = "linf" }',
    "robustness.distance": "",
    "attribution.agreement": "",
    "mechanism.cka": "",
    "leakage.inversion": "",
    "efficiency.bytes": "",
    "efficiency.parameters": "",
    "efficiency.macs": "",
    "efficiency.latency": "",
    "efficiency.memory": "",
}
BLACK = list(ITEMS)[:8]
LACKING = {"robustness.distance", "attribution.agreement", "mechanism.cka", "leakage.inversion"}
ASKED = 'name = "all"\ntitle = "All"\ndraws = 100\nrows = [{ name = "row", title = "Row" }]\n' + "".join(
    f'[[measurements]]\nrow = "row"\nitem = "{item}"\nlabel = "{item}"\nmargin = 0.1\n{more}\n'
    for item, more in ITEMS.items()
)


class Blind:
    """A module of which only answers are shown."""

    def __init__(self, module):
        self.module_ = module

    @torch.no_grad()
    def scores(self, inputs):
        return self.module_(inputs)


@pytest.fixture(scope="module")
def few(digits):
    cut = {name: split.take(torch.arange(min(120, len(split)))) for name, split in digits.splits.items()}
    return replace(digits, splits=cut)


@pytest.fixture(scope="module")
def small(net):
    """The network with a third of its weights gone."""
    made = deepcopy(net)
    for tensor in made.parameters():
        tensor.data[tensor.abs() < tensor.abs().flatten().kthvalue(max(1, tensor.numel() // 3)).values] = 0
    return made


def numbers(base, candidate, task, items=BLACK, **more):
    found = audit(base, {"small": candidate}, task, read_questions(ASKED), on="inline", **more)
    held = {f.label: f for f in found.findings}
    for finding in held.values():
        assert finding.verdict != "failed", (finding.label, finding.why)
    return held, [v for item in items for v in (held[item].before, held[item].after)]


@pytest.mark.known_answer
@pytest.mark.slow
def test_numbers_that_need_answers_alone_are_the_same_in_every_form(
    folder, few, net, small, serve, exporting, tmp_path
):
    exporting(small, few.test.inputs[:8], tmp_path / "small.onnx")
    servers = [serve(lambda x, one=one: one(x).detach()) for one in (net, small)]
    _, seen = numbers(Blind(net), Blind(small), few)
    plain, through = numbers(str(folder / "float.onnx"), str(tmp_path / "small.onnx"), few)
    assert through == pytest.approx(seen, abs=1e-5)
    found, asked = numbers(servers[0].plain, servers[1].served, few)
    assert asked == pytest.approx(seen, abs=1e-5)
    # A live module is attacked by its gradients.
    alive, live = numbers(net, small, few, BLACK[:7])
    assert live == pytest.approx(seen[:14], abs=1e-5)
    for held in (plain, found):
        lacking = {label for label, one in held.items() if one.verdict == "not measurable"}
        assert lacking == {*LACKING, "efficiency.memory", *_unstored(held, found)}
    assert "only predicts" in found["efficiency.macs"].why
    assert plain["efficiency.macs"].before == plain["efficiency.macs"].after == alive["efficiency.macs"].before
    assert plain["efficiency.parameters"].before == sum(int(p.count_nonzero()) for p in net.parameters())
    assert plain["efficiency.parameters"].after == sum(int(p.count_nonzero()) for p in small.parameters())


def _unstored(held, of_endpoint):
    return {"efficiency.bytes", "efficiency.parameters", "efficiency.macs"} if held is of_endpoint else set()


@pytest.mark.slow
def test_quantized_files_are_audited_against_their_float_original_in_other_processes(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.toml").write_text(ASKED.replace("examples = 60", "examples = 10"))
    names = ("float.onnx", "dynamic.onnx", "qdq.onnx", "half.xml")
    call = ["audit", *(str(folder / name) for name in names), "--data", "digits", "--batch", "16", "--workers", "1"]
    app([*call, "--questions", "q.toml", "--json", "f.json", "--html", "f.html", "--quiet"], standalone_mode=False)
    found = json.loads((tmp_path / "f.json").read_text("utf-8"))
    assert {f["candidate"] for f in found["findings"]} == set(names[1:])
    for one in found["findings"]:
        assert one["verdict"] != "failed", (one["candidate"], one["label"], one["why"])
        measured = one["label"] in {*BLACK, "efficiency.bytes", "efficiency.parameters", "efficiency.latency"}
        measured |= one["label"] == "efficiency.macs" and one["candidate"] != "half.xml"
        assert (one["before"] is not None) == measured, (one["label"], one["why"])
    assert "depend on the rest of the batch, by up to" in (tmp_path / "f.html").read_text("utf-8")
