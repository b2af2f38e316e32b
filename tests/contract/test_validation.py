"""The quick version of `make validate`: a little of everything that its page says, and what the README may say."""

import json
import re
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "validation"))

import few  # noqa: E402
import floors  # noqa: E402
import null  # noqa: E402
import numpy as np  # noqa: E402
import page  # noqa: E402
import page_language  # noqa: E402
import peeking  # noqa: E402
import planted  # noqa: E402
import planted_language  # noqa: E402
import search  # noqa: E402
import simulate  # noqa: E402
import wald  # noqa: E402

# Scores times 1000 saturate what attacks look at: their own checks say so.
SATURATED = {"accuracy under attack", "distance to the nearest adversarial point (multiples of the baseline's mean)"}


def test_nothing_is_flagged_where_nothing_happened(monkeypatch):
    for what in list(null.RESCALED)[1:]:  # one of them is enough here
        monkeypatch.delitem(null.COPIES, what)
    rows = null.lossless("mlp")
    assert {r["copy"] for r in rows} == set(null.copies("mlp"))
    assert page.broken({"lossless": rows}) == []
    assert all(r["off"] < 1e-4 for r in rows if r["copy"] not in null.RESCALED)
    assert {r["label"] for r in rows if r["excused"]} == {*null.SCALE, *SATURATED}
    assert any(r["verdict"] == "unchanged" for r in rows)
    twin = null.false_candidate(0)
    assert twin["flagged"] == []
    assert set(twin["verdicts"]) == set(planted.ASKED)


@pytest.mark.parametrize("harm", planted.HARMS, ids=lambda h: h.name)
def test_the_largest_size_of_every_harm_is_found(harm):
    found = [planted.replicate(harm, harm.sizes[-1], seed) for seed in range(2)]
    assert any(r["found"] for r in found)


@pytest.mark.parametrize("harm", planted_language.HARMS, ids=lambda h: h.name)
def test_the_largest_size_of_every_harm_of_a_language_model_is_found(harm):
    row = {"harm": harm.name, "size": harm.sizes[-1], **planted_language.replicate(harm, harm.sizes[-1], 0)}
    assert row["found"], row
    assert abs(row["effect"]) >= row["detectable"]
    assert page_language.broken([row]) == []
    assert page_language.broken([row | {"found": False}] * 25) == [
        f"{harm.name}: found 0 times of 25 at size {row['size']}"
    ]
    assert f"| {harm.name} | {harm.finder} |" in page_language.section([row])


@pytest.mark.parametrize("number", range(len(floors.CASES)), ids=lambda n: f"{n} {floors.CASES[n][1]}")
def test_on_a_floor_nothing_is_unchanged_and_no_gate_says_go(number):
    row = floors.case(number)
    assert page.broken({"floors": [row]}) == []
    assert row["verdict"] == "not measurable"


@pytest.mark.parametrize("what", ["group", "class"])
def test_harm_to_a_few_is_found_and_never_a_go(what):
    rows = [{"kind": "harm", **few.harmed(few.Few(what, n, 1.0), 0)} for n in (5, 25)]
    assert [(r["n"], r["kept"], r["verdict"] == "GO") for r in rows] == [(5, True, False), (25, True, False)]
    assert rows[1]["decision"] == "exceeded"
    null = {"kind": "null", **few.harmless(1)}
    assert null["exceeded"] == []
    assert page.broken({"few": [*rows, null]}) == []
    assert f"| {what} | 25 | 100% |" in page._few({"few": [*rows, null]})


def test_a_harm_of_no_size_is_not_found():
    (calibration,) = (h for h in planted.HARMS if h.name == "calibration broken")
    assert not planted.replicate(calibration, 0.0, 0)["found"]


@pytest.mark.known_answer
def test_a_gate_passes_no_harm_on_ten_examples_where_walds_interval_does():
    rows = {(r["rate"], r["n"]): r for r in wald.passes()}
    assert rows[0.05, 10]["wald"] == pytest.approx(0.95**10)
    assert all(r["ours"] <= 0.05 for r in rows.values())
    assert wald.needed() == 299  # the rule of three at 5 %, one-sided: .99^299 < .05


def test_a_little_of_the_simulations():
    share = simulate.row(simulate.KINDS[0], 200, 20)
    assert (share["answered"], share["null"]) == (20, 0)
    assert share["alarms"] <= 5
    kinds = {k.name: k for k in simulate.KINDS}
    assert simulate.row(kinds["worst group"], 20, 5)["answered"] == 0
    rows = [peeking.false_alarms(kind, 100, np.random.default_rng(1)) for kind in peeking.KINDS]
    assert page.broken({"peeking": rows}) == []


def test_what_a_search_confirms_is_true_where_what_select_picks_is_not():
    rows = [search.searched(kind, seed) for kind in search.WORLDS for seed in range(4)]
    assert page.broken({"search": rows}) == []
    assert sum(bool(r["estimate breaks"]) for r in rows) >= 4
    assert [r["confirmed breaks"] for r in rows if r["world"] == "drawn"] == [False] * 4
    told = page._searches({"search": rows})
    assert "| least favorable | the smallest whose estimates on select keep all budgets | 4 of 4 | 100.0 %" in told


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", search.WORLDS)
def test_the_worlds_of_searches_are_as_they_say(kind):
    """Of very many examples every budget's harm is what the world says that it is."""
    rng = np.random.default_rng(0)
    world = search.WORLDS[kind](rng)
    which = np.array([5, 30, 45])
    sample = search.Sample.of(100_000, rng)
    answers = sample.answers(world, which, rng)
    drop = (answers == -1).astype(float) - (answers == 1)
    groups = np.stack([drop[:, sample.group == g].mean(1) for g in range(len(search.GROUPS))], 1)
    before = np.array([sample.right[sample.group == g].mean() for g in range(len(search.GROUPS))])
    worst = before.min() - (before - groups).min(1)
    flips = np.isin(answers, (-1, 1, 2)).mean(1)
    loss = (sample.losses(answers) - sample.losses(np.zeros_like(answers))).mean(1)
    seen = np.column_stack([drop.mean(1), flips, loss, worst, groups])
    # Ten thousand of the smallest group, of whom a tenth changes: four standard errors.
    assert np.abs(seen - world.harms[which]).max() < 4 * 0.0032
    if kind == "least favorable":
        assert world.breaks.all()
        assert ((world.harms - search._most()) > 0).sum(1).max() <= 2, "one group, and with it the worst"


@pytest.mark.known_answer
def test_the_gate_that_a_search_is_confirmed_by_asks_what_the_world_knows():
    rng = np.random.default_rng(0)
    world, sample = search.drawn(rng), search.Sample.of(4000, rng)
    worst = int(world.harms[:, 0].argmax())
    assert world.breaks[[2, worst]].tolist() == [False, True]
    answers = sample.answers(world, np.array([2, worst]), rng)
    told = search.found(sample, answers, search.Pool(50, rng), 0)
    for answer, findings, verdict in zip(answers, told, ("GO", "NO-GO"), strict=True):
        assert search.gauge().decide(findings).verdict == verdict
        drop = (answer == -1).astype(float) - (answer == 1)
        said = {"accuracy": drop.mean(), "flips": np.isin(answer, (-1, 1, 2)).mean()}
        said["likelihood"] = (sample.losses(answer) - sample.losses(np.zeros_like(answer))).mean()
        mine = [sample.group == g for g in range(len(search.GROUPS))]
        said |= {f"worst group · group {g}": drop[of].mean() for g, of in enumerate(mine)}
        said["worst group"] = min(sample.right[of].mean() for of in mine)
        said["worst group"] -= min((sample.right - drop)[of].mean() for of in mine)
        assert {one.name: one.value for one in search.gauge().held(findings)} == pytest.approx(said, abs=1e-6)


def test_a_broken_promise_is_told():
    lossless = {"net": "n", "copy": "itself", "label": "accuracy", "off": 0.0, "excused": False}
    costs = {**lossless, "label": "bytes", "verdict": "improved"}
    harm = {"harm": "calibration broken", "size": 1, "finder": "calibration", "effect": 1.0, "detectable": 1.0}
    harm |= {"said": [], "refused": "", "found": False, **dict.fromkeys(planted.PEERS, False)}
    summary = {"kind": "k", "n": 20, "answered": 200, "alarms": 40}
    looks = {"table": "null", "kind": "k", peeking.RULES[0]: (0.2, 0.1, 0.3)}
    saved = {"study": "s", "label": "l", "opposed": 1}
    floor = {"model": "m", "behaviour": "b", "before": 0.0, "verdict": "unchanged", "gate": "GO"}
    found = {
        "lossless": [{**lossless, "verdict": "worsened"}, {**lossless, "verdict": "failed"}, costs],
        "twins": [{"flagged": ["accuracy"]}] * 40 + [{"flagged": []}] * 160,
        "planted": [harm] * 25,
        "summaries": [summary],
        "peeking": [looks],
        "few": [{"kind": "harm", "what": "group", "n": 5, "size": 1.0, "kept": False}]
        + [{"kind": "null", "exceeded": ["a"]}] * 40,
        "wald": [{"ours": 0.3}],
        "savings": [saved],
        "search": [{"world": "w", "opened": 1, "confirmed breaks": at < 30} for at in range(200)],
        "floors": [floor],
    }
    assert len(page.broken(found)) == 12
    kept = {**found, "lossless": [{**lossless, "verdict": "unchanged"}], "twins": [{"flagged": []}] * 200}
    kept |= {"planted": [{**harm, "found": True}] * 25, "summaries": [{**summary, "alarms": 10}], "wald": []}
    kept |= {"peeking": [{**looks, peeking.RULES[0]: (0.02, 0.01, 0.03)}], "savings": [], "few": []}
    kept |= {"search": [{"world": "w", "opened": 1, "confirmed breaks": at < 9} for at in range(200)]}
    kept |= {"floors": [{**floor, "verdict": "not measurable", "gate": "INCONCLUSIVE"}]}
    assert page.broken(kept) == []


def sentences(text):
    """Every sentence of a README outside code and headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    blocks, now = [], []
    for line in text.splitlines():
        told = "" if line.startswith(("    ", "#", "![")) else line
        if not told.strip() or told.startswith("- "):
            blocks.append(" ".join(now))
            now = []
        if told.strip():
            now.append(told.strip().removeprefix("- ").removeprefix("> "))
    blocks.append(" ".join(now))
    return [s.strip() for b in blocks for s in re.split(r"(?<=[.?:])(?:\*\*)?\s+(?=[A-Z`*\"])", b) if s.strip()]


def test_every_sentence_of_the_readme_names_the_test_that_holds_it():
    told = json.loads((ROOT / "validation" / "assurance.json").read_text("utf-8"))
    assert [one["sentence"] for one in told] == sentences((ROOT / "README.md").read_text("utf-8"))
    for one in told:
        assert bool(one["tests"]) != bool(one.get("why")), one["sentence"]
        for test in one["tests"]:
            path, name = test.split("::")
            assert f"def {name}(" in (ROOT / path).read_text("utf-8"), test


def test_the_page_is_of_this_readme():
    shown = (ROOT / "docs" / "validation.md").read_text("utf-8")
    for one in json.loads((ROOT / "validation" / "assurance.json").read_text("utf-8")):
        assert one["sentence"].replace("|", "\\|") in shown
