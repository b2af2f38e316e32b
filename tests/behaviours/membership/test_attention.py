import math

import pytest
import torch
from scipy.stats import norm

from whatelse.auditing.ask import of_kept
from whatelse.behaviours.membership import _records, attention, loss, sensitivity
from whatelse.errors import NotMeasurableError
from whatelse.store.folder import Folder
from whatelse.study import plan, spec, worker

SHADOWS, COUNT = 6, 600


@pytest.fixture
def xored(planted):
    """Two binary signs, confidence and sensitivity; a record is a member where just one of them is high."""

    def make(clean=True):
        draw = torch.Generator().manual_seed(31)
        recorded = torch.randint(3, (COUNT,), generator=draw)
        inside = torch.rand(SHADOWS, COUNT, generator=draw) < 0.5
        inside[1::2] = ~inside[::2]
        member = torch.arange(COUNT) < COUNT // 2

        def tables(had):
            sure = torch.rand(had.shape, generator=draw) < 0.5
            moved = sure ^ had if clean else torch.rand(had.shape, generator=draw) < 0.5
            noise = 0.3 * torch.randn(2, *had.shape, generator=draw)
            scores = (1.0 + 2 * sure + noise[0])[..., None] * torch.nn.functional.one_hot(recorded, 3)
            moves = (-1.0 + 2 * moved + noise[1]).exp()[..., None] * torch.tensor([0.5, 0.25, 0.25])
            return scores, moves

        return planted(*tables(member), recorded, *tables(inside), inside)

    return make


def area(item, evidence, config, toy):
    answer = item.measure(evidence, config, torch.Generator().manual_seed(0))
    return item.summarise(answer, config, toy.ones(answer))[0]


@pytest.mark.known_answer
def test_it_finds_an_exclusive_or_of_confidence_and_sensitivity_where_thresholds_guess(xored, toy, rng):
    evidence = xored()
    answer = attention.measure(evidence, attention.Config(epochs=6), rng)
    # Confidences are 3.3 spreads from the middle, sensitivities too: one record in 500 is on the wrong side.
    assert attention.summarise(answer, attention.Config(), toy.ones(answer)) > 0.98
    assert answer.columns["member"].tolist() == [1.0] * (COUNT // 2) + [0.0] * (COUNT // 2)
    # The area of 300 against 300 without a difference has a standard error of .024.
    assert area(loss, evidence, loss.Config(), toy) == pytest.approx(0.5, abs=1.96 * 0.024)
    assert area(sensitivity, evidence, sensitivity.Config(), toy) == pytest.approx(0.5, abs=1.96 * 0.024)
    points = attention.by_part(answer, attention.Config(), toy.ones(answer))[0]
    assert points[:2].tolist() == pytest.approx([math.nan] * 2, nan_ok=True), "300 others are too few"
    assert points[2] > 0.97
    told = answer.notes[0]
    assert told.startswith("learned from 6 shadow models; on records of theirs held back: AUC ")
    assert float(told[-5:]) > 0.98


@pytest.mark.known_answer
def test_of_two_normals_it_has_the_area_of_the_best_rule(planted, toy):
    """Log-odds and log sensitivity of members are shifted by one: the best rule adds them, area Phi(1)."""
    draw = torch.Generator().manual_seed(37)
    inside = torch.rand(SHADOWS, COUNT, generator=draw) < 0.5
    inside[1::2] = ~inside[::2]

    def tables(had):
        odds, moves = (torch.randn(had.shape, generator=draw) + had for _ in range(2))
        return torch.stack([odds, 0 * odds], -1), moves.exp()[..., None] * torch.tensor([0.5, 0.5])

    member = torch.arange(COUNT) < COUNT // 2
    evidence = planted(*tables(member), torch.zeros(COUNT, dtype=torch.long), *tables(inside), inside)
    single = area(loss, evidence, loss.Config(), toy)
    assert single == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=2 * 0.02)
    # Standard error of an area of .84 among 300 and 300: .016.
    assert area(attention, evidence, attention.Config(epochs=4), toy) == pytest.approx(norm.cdf(1), abs=2 * 0.016)


@pytest.mark.known_answer
def test_a_layer_is_torchs_own_encoder_layer(rng):
    theirs = torch.nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, activation="gelu", batch_first=True)
    mine = attention._Layer()
    pairs = {
        "ask.weight": "self_attn.in_proj_weight",
        "ask.bias": "self_attn.in_proj_bias",
        "join.weight": "self_attn.out_proj.weight",
        "join.bias": "self_attn.out_proj.bias",
        "inner.0.weight": "linear1.weight",
        "inner.0.bias": "linear1.bias",
        "inner.2.weight": "linear2.weight",
        "inner.2.bias": "linear2.bias",
        **{f"norms.{i}.{p}": f"norm{i + 1}.{p}" for i in (0, 1) for p in ("weight", "bias")},
    }
    theirs.load_state_dict({a: torch.randn(p.shape, generator=rng) / 8 for a, p in theirs.state_dict().items()})
    mine.load_state_dict({name: theirs.state_dict()[other] for name, other in pairs.items()})
    x = torch.randn(5, 7, 64, generator=rng)
    assert torch.allclose(mine(x), theirs(x), atol=1e-5)


@pytest.mark.known_answer
def test_tokens_are_log_posterior_log_sensitivity_and_label_of_each_class():
    scores = torch.tensor([[0.6, 0.3, 0.1]]).log() + 5
    found = attention._tokens(scores, torch.tensor([[1.0, 0.0, math.e]]), torch.tensor([2]))
    expected = [[math.log(0.6), 0, 0], [math.log(0.3), math.log(1e-6), 0], [math.log(0.1), 1, 1]]
    assert torch.allclose(found, torch.tensor([expected]), atol=1e-5)


def test_without_a_signal_it_is_a_guess(xored, toy):
    found = area(attention, xored(clean=False), attention.Config(epochs=3), toy)
    assert found == pytest.approx(0.5, abs=1.96 * 0.024)


def test_the_targets_members_are_not_learned_from(xored, rng, monkeypatch):
    evidence, config = xored(), attention.Config(epochs=1)
    before = attention.measure(evidence, config, rng.clone_state())
    whole = _records.members
    monkeypatch.setattr(_records, "members", lambda *given: ~whole(*given))
    after = attention.measure(evidence, config, rng.clone_state())
    assert torch.equal(before.columns["score"], after.columns["score"])
    assert torch.equal(before.columns["member"], 1 - after.columns["member"])


def test_records_held_back_are_a_fifth_of_all_and_never_learned_from(rng):
    inside = torch.zeros(4, 50, dtype=torch.bool)
    learn, check = attention._rows(inside, rng)
    assert len(learn[0]) == 4 * 40
    assert len(check[0]) == 4 * 10
    assert not set(learn[1].tolist()) & set(check[1].tolist())
    assert len({*zip(*(t.tolist() for t in learn), strict=True)}) == 4 * 40


def test_only_the_generator_decides(xored, rng):
    evidence, config = xored(), attention.Config(epochs=1)
    one, two, again = (
        attention.measure(evidence, config, torch.Generator().manual_seed(s))["score"] for s in (1, 2, 1)
    )
    assert one.tolist() == again.tolist()
    assert one.tolist() != two.tolist()


def test_more_layers_may_be_asked_for(xored, rng):
    answer = attention.measure(xored(), attention.Config(epochs=1, layers=3), rng)
    assert len(answer) == COUNT
    assert len(attention._Network(3, 3).layers) == 3


def test_missing_sensitivities_are_said(planted, rng):
    said, inside = torch.zeros(2, 4, 2), torch.tensor([[True, False] * 2, [False, True] * 2])
    evidence = planted(torch.zeros(4, 2), torch.zeros(4, 2), [0] * 4, said, None, inside)
    with pytest.raises(NotMeasurableError, match="sensitivity to tiny noise was kept"):
        attention.measure(evidence, attention.Config(), rng)


STUDY = """
name = "adaptive"
title = "A defense under an attacker who knows it"
seeds = [0]
[net]
item = "cnn"
[tasks.noisy]
data = "digits"
title = "Digits, 30 % wrong labels"
baseline = "train.scratch(epochs=40)"
settings = { noise = 0.3 }
references = 4
[controls]
placebo = "train.finetune(epochs=1)"
[[candidates]]
name = "pruned"
family = "prune"
recipe = "prune.magnitude(sparsity=0.8) > train.finetune()"
[[candidates]]
name = "defended"
family = "prune"
recipe = "prune.membership(sparsity=0.8)"
[[candidates]]
name = "halved"
family = "prune"
recipe = "prune.membership(sparsity=0.8, strength=0.0)"
[[rows]]
name = "membership"
title = "Membership"
"""
QUESTION = """
[[measurements]]
row = "membership"
item = "membership.{0}"
label = "{0}"
tasks = ["noisy"]
margin = 0.02
"""


@pytest.mark.slow
def test_pruning_against_membership_under_an_attacker_who_knows_it(toy, tmp_path):
    """The shadow models of the defense are made by the defense, so that this attacker has learned to see through it.

    What it gains is mostly that half of the records are held back, and the other half is learned for fewer epochs: the
    same without an adversary, ``halved``, gives away little more.
    """
    asked = ("attention", "loss", "reference")
    text = STUDY + "".join(QUESTION.format(item) for item in asked).replace("0.02", "0.02\nprimary = true", 1)
    study, store = spec.parse(text, "adaptive"), Folder(tmp_path)
    task = worker.load_task(study, "noisy")
    found = {}
    for job in plan.plan(study, {"noisy": task.key}).jobs:
        if job.subject == "placebo":
            continue
        assert not worker.run_job(job, store).failed
        for cell in job.cells if job.shadow is None else ():
            answer = of_kept(*store.load("values", cell.key)).answer
            found[job.subject, cell.label] = attention.summarise(answer, attention.Config(), toy.ones(answer))[0]
    # The standard error of an area of .6 to .8 among 600 and 600 is .015.
    assert found["baseline", "attention"] > found["baseline", "loss"] + 0.015
    for attack in asked:
        assert found["defended", attack] < min(found["baseline", attack], found["pruned", attack]) - 0.1
    assert found["defended", "attention"] < found["defended", "loss"] + 0.03, "knowing the defense helps little"
    gains = [found["pruned", a] - found["defended", a] for a in asked]
    without = [found["pruned", a] - found["halved", a] for a in asked]
    assert sum(without) > sum(gains) / 2, "the adversary is not what helps most"
