from dataclasses import replace

import pytest
import torch

from whatelse.attacks import columns as _columns
from whatelse.errors import NotMeasurableError
from whatelse.tasks.task import Split, Task

FEATURES = ("age", "age=unknown", "sex=f", "sex=m", "job=a", "job=b", "job=unknown", "flat")
TRAIN = torch.tensor(
    [
        [1.0, 0, 1, 0, 1, 0, 0, 2],
        [3.0, 0, 0, 1, 0, 0, 1, 2],
        [2.0, 1, 0, 1, 1, 0, 0, 2],
        [2.0, 0, 1, 0, 0, 0, 1, 2],
    ]
)


def task_of(inputs, features=FEATURES, **given):
    split = Split(inputs, torch.arange(len(inputs)) % 2, torch.arange(len(inputs)) % 2)
    splits = dict.fromkeys(("train", "calibration", "select", "test"), split)
    return Task("toy", 2, None, splits, features=features, **given)


@pytest.mark.known_answer
def test_columns_are_read_off_their_names():
    found = _columns.read(task_of(TRAIN))
    assert found.numbers == ("age", "flat")
    assert found.categories == ("sex", "job")
    assert found.far.tolist() == pytest.approx([0.5**0.5, 0, 0, 0, 0, 0, 0, 0]), "divisor N; flat never moves"
    assert found.block.tolist() == [-1, -1, 0, 0, 1, 1, 1, -1]
    assert found.options.tolist() == [2, 3, 4, 6], "train has no job b, and unknown is a job like others"
    assert found.missing.tolist() == [1, -1, -1, -1, -1, -1, -1, -1]
    assert (found.low[0], found.high[0]) == (1, 3)


@pytest.mark.known_answer
def test_numbers_move_inside_ball_and_bounds_and_not_where_they_are_missing():
    columns = _columns.read(task_of(TRAIN))
    rows = torch.tensor([[1.1, 0.0], [2.0, 0.0], [2.0, 1.0], [9.0, 0.0]])
    rows = torch.cat([rows, TRAIN[:, 2:]], 1)
    low, high = columns.ball(rows, 1.0)
    step = 0.5**0.5
    assert low[:, 0].tolist() == pytest.approx([1, 2 - step, 2, 9 - step])
    assert high[:, 0].tolist() == pytest.approx([1.1 + step, 2 + step, 2, 9]), "never further out than it was"
    assert low[:, 1:].isneginf().all()
    assert high[:, 1:].isposinf().all()


@pytest.mark.known_answer
def test_a_column_changes_once_and_to_another_category():
    columns = _columns.read(task_of(TRAIN))
    clean = TRAIN[:2].clone()
    clean[1, 4:7] = 0  # a category that train never has: any one may follow
    now = columns.made(clean, torch.tensor([1, 3]))
    assert now[:, 2:7].tolist() == [[0, 1, 1, 0, 0], [0, 1, 0, 0, 1]]
    assert columns.open(clean, clean).tolist() == [[False, True, False, True], [True, False, True, True]]
    assert columns.open(now, clean).tolist() == [[False, False, False, True], [True, False, False, False]]


def test_fixed_columns_are_neither_moved_nor_swapped():
    found = _columns.read(task_of(TRAIN), " job ,age")
    assert not found.far.any()
    assert found.options.tolist() == [2, 3]
    assert found.categories == ("sex",)
    with pytest.raises(NotMeasurableError, match=r"fixed: no column 'joob'; did you mean job\?"):
        _columns.read(task_of(TRAIN), "joob")
    with pytest.raises(NotMeasurableError, match="the columns of task toy have no names"):
        _columns.read(task_of(TRAIN, ()), "age")


def test_what_is_no_table_or_not_one_hot_is_refused():
    with pytest.raises(NotMeasurableError, match="needs a table; task toy is of tokens"):
        _columns.read(task_of(TRAIN, (), vocabulary=9))
    twice = TRAIN.clone()
    twice[0, 3] = 1
    with pytest.raises(NotMeasurableError, match=r"needs one-hot columns sex=\.\.\..*name sex in fixed"):
        _columns.read(task_of(twice))
    assert _columns.read(task_of(twice), "sex").categories == ("job",)


@pytest.mark.known_answer
def test_climb_and_wander_find_the_minimum_of_a_model_with_a_bend(toy):
    # The margin of class 1 is 2 - |x0 - 0.8| - |x1 + 0.3|, least at the corner that is furthest from its peak.
    class Bent(torch.nn.Module):
        def forward(self, x):
            top = 2 - (x[:, 0] - 0.8).abs() - (x[:, 1] + 0.3).abs()
            return torch.stack([torch.zeros_like(top), top], 1)

    grid = torch.tensor([[-2.0, -2.0], [2.0, 2.0], [0.0, 0.0], [1.0, -1.0]])
    task = task_of(grid, ())
    mine = toy.evidence_of(Bent(), task)
    labels, columns = torch.ones(4, dtype=torch.long), _columns.read(task)
    columns = replace(columns, far=torch.ones(2))
    found, least = _columns.climb(mine, grid, grid, labels, columns, 1.0, 8)
    other, lower = _columns.wander(mine, grid, grid, labels, columns, 1.0, 60, torch.Generator().manual_seed(1))
    corner = torch.tensor([[-2.0, -2.0], [2.0, 2.0], [-1.0, 1.0], [2.0, -2.0]])
    exact = (2 - (corner[:, 0] - 0.8).abs() - (corner[:, 1] + 0.3).abs()).tolist()
    assert other.tolist() == corner.tolist()
    assert lower.tolist() == pytest.approx(exact)
    assert found.tolist() == corner.tolist()
    assert least.tolist() == pytest.approx(exact)


def test_a_surrogate_gives_the_way_and_the_model_decides(toy):
    task = task_of(TRAIN[:, :1], ())
    model, other = torch.nn.Linear(1, 2, bias=False), torch.nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0], [1.0]]))
        other.weight.copy_(torch.tensor([[0.0], [5.0]]))
    mine = toy.evidence_of(model, task)
    mine.subject = replace(mine.subject, surrogate=other)
    columns, labels = _columns.read(task), torch.ones(4, dtype=torch.long)
    found, least = _columns.climb(mine, TRAIN[:, :1], TRAIN[:, :1], labels, columns, 1.0, 3)
    assert torch.equal(least, found[:, 0])
    assert found[:, 0].tolist() == pytest.approx([1, 3 - 0.5**0.5, 2 - 0.5**0.5, 2 - 0.5**0.5])
