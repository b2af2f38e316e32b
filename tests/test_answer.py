import numpy as np
import pytest
import torch

from whatelse.answer import Answer


def of(**columns):
    return Answer({name: torch.as_tensor(column) for name, column in columns.items()})


def test_columns_stand_side_by_side_in_their_order_or_as_they_are_named():
    answer = of(one=[1.0, 2], two=[3.0, 4], three=[5.0, 6])
    assert answer.table().tolist() == [[1, 3, 5], [2, 4, 6]]
    assert answer.table("three", "one").tolist() == [[5, 1], [6, 2]]
    assert answer.matrix().tolist() == answer.table().tolist()
    assert of(one=[1.0, 2]).matrix().tolist() == [1, 2]
    assert (len(answer), answer["two"].tolist()) == (2, [3, 4])


def test_other_values_take_the_names_and_are_not_copied():
    answer, values = of(one=[1.0, 2], two=[3.0, 4], three=[5.0, 6]), np.arange(12.0).reshape(4, 3)
    other = answer.over(values)
    assert (other.table() == values).all()
    assert np.shares_memory(other.table(), values)
    assert np.shares_memory(other.table("two", "three"), values)
    assert other.table().strides == values.strides
    for names, columns in ((("two", "three"), [1, 2]), (("three", "two"), [2, 1]), (("one", "three"), [0, 2])):
        assert (other.table(*names) == values[:, columns]).all()


@pytest.mark.parametrize("kind", ["types", "memory", "strides"])
def test_columns_that_do_not_lie_side_by_side_are_copied(kind):
    whole = torch.arange(12.0).reshape(4, 3)
    first = whole[:, 0]
    second = {"types": whole[:, 1].int(), "memory": whole.clone()[:, 1], "strides": whole.flatten()[1:5]}[kind]
    found = Answer({"first": first, "second": second}).table()
    assert found.tolist() == [list(row) for row in zip(first.tolist(), second.tolist(), strict=True)]
    assert not np.shares_memory(found, whole.numpy())


@pytest.mark.parametrize("columns", [{}, {"one": torch.zeros(2), "two": torch.zeros(3)}, {"one": torch.zeros(2, 2)}])
def test_columns_of_other_shapes_are_refused(columns):
    with pytest.raises(ValueError, match="at least one is needed, all of the same"):
        Answer(columns)
