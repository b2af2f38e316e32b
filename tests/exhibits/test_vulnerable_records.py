import pytest
import torch

from whatelse.exhibits import vulnerable_records
from whatelse.findings.exhibits import Exhibit


@pytest.mark.known_answer
def test_exposure_is_the_share_of_non_members_below():
    members = torch.tensor([[3.0, 1], [0.5, 1], [2.0, 1], [9.0, 1]])
    others = torch.tensor([[1.0, 0], [2.0, 0], [3.0, 0], [4.0, 0]])
    # 3 lies above 1 and 2 and ties with 3; 2 above 1 and ties with 2.
    assert vulnerable_records.exposure(torch.cat([members, others])).tolist() == [0.625, 0.0, 0.375, 1.0]


def values(scores, others=50):
    rest = torch.stack([torch.linspace(0, 1, others), torch.zeros(others)], 1)
    return torch.cat([torch.stack([torch.tensor(scores), torch.ones(len(scores))], 1), rest])


def test_the_member_that_rose_is_named_first_and_so_is_the_most_exposed(toy):
    task = toy.task_of(torch.rand(12, 1, 2, 2), torch.arange(12) % 2, bounds=(0.0, 1.0))
    low, rose, high = [0.2] * 12, [0.2] * 12, [0.2] * 12
    low[7], rose[7], high[7] = 0.95, 0.95, 0.95
    rose[3] = 0.8
    made = vulnerable_records.exhibits(
        [values(low)] * 2, [values(rose), values(high)], task, row="membership", name="clean", candidate="half"
    )
    assert [e["kind"] for e in made] == ["exposed", "exposed"]
    assert made[0]["title"] == "exposed more: 1 of 12 members, by +0.025 on average"
    assert (made[0]["items"][0]["index"], made[1]["items"][0]["index"]) == (3, 7)
    assert made[0]["items"][0]["note"] == "exposure 0.20 → 0.50, mean of 2 seeds"
    assert made[0]["items"][0]["truth"] == "1"
    assert len(made[0]["items"]) == vulnerable_records.SHOWN
    assert "image" in made[0]["items"][0]
    assert Exhibit.__dataclass_fields__["kind"]


def test_of_a_table_no_row_is_shown(toy):
    task = toy.task_of(torch.rand(12, 5), torch.arange(12) % 2)
    made = vulnerable_records.exhibits(
        [values([0.1] * 12)], [values([0.2] * 12)], task, row="m", name="t", candidate="c"
    )
    assert all("image" not in item for e in made for item in e["items"])
