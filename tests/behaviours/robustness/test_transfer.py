import numpy as np
import pytest
import torch

from whatelse.answer import Answer
from whatelse.behaviours.robustness import accuracy, transfer
from whatelse.errors import NotMeasurableError

RADIUS = 0.3


def config(**given):
    return transfer.Config(**{"radius": RADIUS, "examples": 1000, "least": 1, **given})


@pytest.mark.known_answer
@pytest.mark.parametrize("direction", ["to candidate", "from candidate"])
def test_the_corner_of_one_linear_model_fools_the_other_or_not(lines, toy, rng, direction):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    answer = transfer.compare(base, mine, config(direction=direction), rng)
    source, target = (lines.first, lines.second) if direction == "to candidate" else (lines.second, lines.first)
    corner = lines.inputs + lines.worst(source, lines.labels, RADIUS)
    right = [lines.margin(w, lines.inputs, lines.labels) > 0 for w in (source, target)]
    counted = right[0] & right[1] & (lines.margin(source, corner, lines.labels) < 0)
    fooled = counted & (lines.margin(target, corner, lines.labels) < 0)
    assert answer.table("counted", "fooled").tolist() == torch.stack([counted, fooled], 1).float().tolist()
    assert 0.1 < (share := float(fooled.sum() / counted.sum())) < 0.95
    assert transfer.summarise(answer, config(), toy.ones(answer)) == pytest.approx([share])
    assert f"{int(counted.sum())} of 120 examples count" in answer.notes[0]


@pytest.mark.known_answer
def test_the_matrix_of_scenarios_is_that_of_the_corners(lines, toy, rng):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    answer = transfer.compare(base, mine, config(), rng)
    pair = (lines.first, lines.second)
    both = torch.stack([lines.margin(w, lines.inputs, lines.labels) > 0 for w in pair]).all(0)
    corners = [lines.inputs + lines.worst(w, lines.labels, RADIUS) for w in pair]
    fell = [[lines.margin(w, at, lines.labels)[both] < 0 for w in pair] for at in corners]
    want = [float(tried.float().mean()) for made in fell for tried in made]
    assert transfer.by_part(answer, config(), toy.ones(answer))[0] == pytest.approx(want)
    assert answer.parts.names == (
        "made on the baseline, tried on it",
        "made on the baseline, tried on the candidate",
        "made on the candidate, tried on the baseline",
        "made on the candidate, tried on it",
    )


def test_of_a_model_without_gradients_half_the_matrix_is_empty(lines, toy, rng, reversed_):
    base = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    blind = toy.evidence_of(reversed_(lines.linear_of(lines.second)), lines.task)
    answer = transfer.compare(base, blind, config(), rng)
    parts = transfer.by_part(answer, config(), toy.ones(answer))[0]
    assert np.isnan(parts).tolist() == [False, False, True, True]
    with pytest.raises(NotMeasurableError, match="needs a model that differentiates"):
        transfer.compare(base, blind, config(direction="from candidate"), rng)


@pytest.mark.known_answer
def test_between_a_model_and_itself_every_attack_transfers(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.second), lines.task)
    answer = transfer.compare(mine, mine, config(), rng)
    assert answer["counted"].tolist() == answer["fooled"].tolist()
    assert transfer.summarise(answer, config(), toy.ones(answer)) == pytest.approx([1])


@pytest.mark.known_answer
def test_the_summary_is_a_ratio_of_weighted_sums():
    answer = Answer({"counted": torch.tensor([1.0, 1, 0, 1]), "fooled": torch.tensor([1.0, 0, 0, 1])})
    weights = np.array([[1, 1, 1, 1], [0, 3, 5, 1], [0, 0, 4, 0]])
    assert transfer.summarise(answer, config(), weights) == pytest.approx([2 / 3, 1 / 4, 0])


def test_it_shares_the_points_of_the_accuracy_under_attack(lines, toy, rng):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    base.logits()
    accuracy.compare(base, mine, accuracy.Config(radius=RADIUS, examples=1000), rng)
    spent = base.passes.backward, mine.passes.backward
    for direction in ("to candidate", "from candidate"):
        transfer.compare(base, mine, config(direction=direction), rng)
    assert (base.passes.backward, mine.passes.backward) == spent


def test_too_few_attacks_give_no_share(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    with pytest.raises(NotMeasurableError, match="needs 20 examples that both get right and the attack flips; has 0"):
        transfer.compare(mine, mine, transfer.Config(radius=0.0), rng)
