import json

import pytest

from whatelse.auditing import prune_potential
from whatelse.findings.record import parse
from whatelse.study import run, run_study, spec


def candidate(name, knob, *, step="prune.magnitude(sparsity={})", knob_name="sparsity", **more):
    return {
        "name": name,
        "family": "prune",
        "kind": "",
        "level": "",
        "role": "candidate",
        "knob": knob,
        "knob_name": knob_name,
        "recipe": f"train.scratch(epochs=30) > {step.format(knob)} > train.finetune()",
        "parameters": None,
        "bytes": None,
        "macs": None,
        **more,
    }


def finding(name, low, high, *, better="higher", **more):
    return {
        "candidate": name,
        "behaviour": "generalization.accuracy",
        "label": "accuracy",
        "task": "clean",
        "unit": "accuracy",
        "better": better,
        "margin": 0.02,
        "leading": True,
        "verdict": "inconclusive",
        "low": low,
        "high": high,
        **more,
    }


def told(candidates, findings, **more):
    return prune_potential.potentials({"candidates": candidates, "findings": findings}, **more)


PRUNED = [candidate(f"prune {k}", k, parameters=round(1000 * (1 - k))) for k in (0.9, 0.5, 0.8)]


@pytest.mark.known_answer
def test_the_strongest_level_whose_interval_stays_within_the_bound():
    findings = [finding("prune 0.5", -0.004, 0.01), finding("prune 0.8", -0.015, 0.02), finding("prune 0.9", -0.03, 0)]
    tight, own = told(PRUNED, findings)
    assert [tight.delta, own.delta] == [0.005, 0.02]
    assert [tight.potential, own.potential] == [0.5, 0.8]
    assert [tight.unbroken, own.unbroken] == [0.5, 0.8]
    assert tight.levels == own.levels == [0.5, 0.8, 0.9]
    assert own.candidates == ["prune 0.5", "prune 0.8", "prune 0.9"]
    assert own.shown == [True, True, False]
    assert own["harm"] == [0.004, 0.015, 0.03]
    names = ("family", "kind", "knob_name", "label", "task", "behaviour", "unit")
    expected = ["prune", "", "sparsity", "accuracy", "clean", "generalization.accuracy", "accuracy"]
    assert [own[n] for n in names] == expected
    json.dumps([tight, own], allow_nan=False)


def test_a_milder_level_that_is_not_shown_breaks_the_promise_of_the_search():
    findings = [finding("prune 0.5", -0.01, 0), finding("prune 0.8", -0.001, 0), finding("prune 0.9", -0.2, -0.1)]
    (tight, own) = told(PRUNED, findings)
    assert tight.potential == 0.8
    assert tight.unbroken is None
    assert own.potential == own.unbroken == 0.8


def test_nothing_shown_is_null_and_an_improvement_is_no_harm():
    findings = [finding("prune 0.5", -0.5, 0.5), finding("prune 0.8", None, None), finding("prune 0.9", -1, 1)]
    assert [r.potential for r in told(PRUNED, findings)] == [None, None]
    assert told(PRUNED, findings)[0]["harm"] == [0.5, None, 1]
    better = [finding(f"prune {k}", 0.01, 0.03) for k in (0.5, 0.8, 0.9)]
    assert [r.potential for r in told(PRUNED, better)] == [0.9, 0.9]


def test_harm_is_upwards_where_lower_is_better():
    findings = [
        finding(f"prune {k}", -1, high, better="lower", behaviour="generalization.likelihood")
        for k, high in ((0.5, 0.001), (0.8, 0.01), (0.9, 0.1))
    ]
    assert told(PRUNED, findings) == []
    records = told(PRUNED, findings, asked=("generalization.likelihood",))
    assert [r.potential for r in records] == [0.5, 0.8]


def test_what_is_not_trusted_shows_nothing():
    findings = [finding("prune 0.5", 0, 0), finding("prune 0.8", 0, 0, verdict="not trusted")]
    assert told(PRUNED, findings)[0].shown == [True, False]
    assert told(PRUNED, [finding("prune 0.5", None, None, why="needs a shifted split")]) == []


@pytest.mark.parametrize(
    "costs",
    [
        {"parameters": (10, 10, 10), "bytes": (80, 40, 20)},
        {"parameters": (9, 8, 7), "bytes": (1, 2, 3)},
        {"level": ("mild", "", "strong")},
    ],
)
def test_fewer_bits_are_stronger_and_the_costs_say_so(costs):
    bits = [
        candidate(f"{b} bits", b, step="quantize.uniform(bits={})", knob_name="bits", family="quantize")
        | {name: column[i] for name, column in costs.items()}
        for i, b in enumerate((8, 4, 2))
    ]
    findings = [finding("8 bits", 0, 0), finding("4 bits", -0.003, 0), finding("2 bits", -0.4, -0.2)]
    record = told(bits[::-1], findings)[0]
    assert record.levels == [8, 4, 2]
    assert record.potential == record.unbroken == 4


def test_only_the_knob_may_differ_within_a_series():
    other = [
        candidate("OBD 0.9", 0.9, step="prune.obd(sparsity={})"),
        candidate("gradual 0.9", 0.9, step="prune.magnitude(sparsity={}, rounds=4)"),
        candidate("placebo", None),
        candidate("scratch", 0.9, role="control"),
    ]
    findings = [finding(c.name, 0, 0) for c in [*PRUNED, *other]]
    records = [r for r in told([*PRUNED, *other], findings) if r.delta == 0.005]
    assert [r.candidates for r in records] == [
        ["prune 0.5", "prune 0.8", "prune 0.9"],
        ["OBD 0.9"],
        ["gradual 0.9"],
    ]
    assert records[0].recipe == "train.scratch(epochs=30) > prune.magnitude() > train.finetune()"
    assert records[2].recipe == "train.scratch(epochs=30) > prune.magnitude(rounds=4) > train.finetune()"


def test_a_knob_left_at_its_default_and_a_setting_of_a_like_name():
    bits = [
        candidate("8", 8, step="quantize.uniform(activation_bits=8)", knob_name="bits", bytes=8),
        candidate("4", 4, step="quantize.uniform(activation_bits=8, bits=4)", knob_name="bits", bytes=4),
        candidate("2", 2, step="quantize.uniform(bits=2, activation_bits=8)", knob_name="bits", bytes=2),
    ]
    record = told(bits, [finding(name, 0, 0) for name in ("8", "4", "2")])[0]
    assert record.levels == [8, 4, 2]


def test_each_question_and_task_has_its_own_and_other_controls_none():
    findings = [
        finding("prune 0.5", 0, 0),
        finding("prune 0.5", -1, 0, leading=False),
        finding("prune 0.5", -1, 0, task="noisy"),
        finding("prune 0.5", 0, 0, label="accuracy under noise", behaviour="generalization.shift", margin=0.005),
    ]
    records = told(PRUNED, findings)
    assert [(r.label, r.task, r.delta, r.potential) for r in records] == [
        ("accuracy", "clean", 0.005, 0.5),
        ("accuracy", "clean", 0.02, 0.5),
        ("accuracy", "noisy", 0.005, None),
        ("accuracy", "noisy", 0.02, None),
        ("accuracy under noise", "clean", 0.005, 0.5),
    ]


def test_the_findings_of_a_study_have_all_that_is_needed(small, tmp_path, inline, monkeypatch):
    monkeypatch.setattr(run, "engine", lambda *_: inline)
    found = run_study.run_study(
        spec.parse(small.replace("[0, 1]", "[0]").replace("epochs = 6", "epochs = 1"), "small"), tmp_path
    )
    records = prune_potential.potentials(found)
    assert [(r.levels, r.delta) for r in records] == [([0.9], 0.005), ([0.9], 0.02)]
    assert all(r.shown == [r.potential == 0.9] for r in records)
    assert parse({**found, "potential": records}).potential[1].delta == 0.02
