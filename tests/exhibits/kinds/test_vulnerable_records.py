import pytest
import torch

from whatelse.answer import Answer
from whatelse.exhibits.kinds import vulnerable_records

ITEM = "membership.lira"


@pytest.mark.known_answer
def test_exposure_is_the_share_of_non_members_below():
    members = torch.tensor([[3.0, 1], [0.5, 1], [2.0, 1], [9.0, 1]])
    others = torch.tensor([[1.0, 0], [2.0, 0], [3.0, 0], [4.0, 0]])
    # 3 lies above 1 and 2 and ties with 3; 2 above 1 and ties with 2.
    assert vulnerable_records.exposure(torch.cat([members, others])).tolist() == [0.625, 0.0, 0.375, 1.0]


def values(scores, others=50):
    rest = torch.stack([torch.linspace(0, 1, others), torch.zeros(others)], 1)
    return torch.cat([torch.stack([torch.tensor(scores), torch.ones(len(scores))], 1), rest])


def answers_of(**sides):
    columns = {(name, seed): v for name, side in sides.items() for seed, v in enumerate(side)}
    return {of: Answer({"score": v[:, 0], "member": v[:, 1]}) for of, v in columns.items()}


def test_the_member_that_rose_is_named_first_and_so_is_the_most_exposed(toy, made):
    task = toy.task_of(torch.rand(12, 1, 2, 2), torch.arange(12) % 2, bounds=(0.0, 1.0))
    low, rose, high = [0.2] * 12, [0.2] * 12, [0.2] * 12
    low[7], rose[7], high[7] = 0.95, 0.95, 0.95
    rose[3] = 0.8
    answers = answers_of(baseline=[values(low)] * 2, half=[values(rose), values(high)])
    more, most = vulnerable_records.exhibits(made.asked_of(task, item=ITEM, seeds=(0, 1), answers=answers))
    assert (more.kind, most.kind) == ("exposed", "exposed")
    assert more.title == "exposed more: 1 of 12 members, by +0.025 on average"
    assert (more.items[0].index, most.items[0].index) == (3, 7)
    assert more.items[0].note == "exposure 0.20 → 0.50, mean of 2 seeds"
    assert more.items[0].truth == "1"
    assert len(more.items) == vulnerable_records.SHOWN
    assert more.items[0].image is not None
    made.there_and_back(more)
    assert not list(vulnerable_records.exhibits(made.asked_of(task, seeds=(0, 1), answers=answers))), "no attack"


def test_of_a_table_no_row_is_shown(toy, made):
    task = toy.task_of(torch.rand(12, 5), torch.arange(12) % 2)
    answers = answers_of(baseline=[values([0.1] * 12)], half=[values([0.2] * 12)])
    shown = list(vulnerable_records.exhibits(made.asked_of(task, item=ITEM, answers=answers)))
    assert len(shown) == 2
    assert all(item.image is None for one in shown for item in one.items)
