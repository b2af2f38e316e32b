import pytest
import torch

from whatelse.behaviours.leakage import _sent

GRADIENT = torch.tensor([[4.0, -3.0, 0.5, 0.0], [-1.0, 2.0, -8.0, 1.0]], dtype=torch.float64)


def test_whole_gradients_are_shared_as_they_are():
    values, known = _sent.send({"w": GRADIENT}, {}, "whole", 0.1)
    assert torch.equal(values["w"], GRADIENT)
    assert not known


@pytest.mark.known_answer
@pytest.mark.parametrize(("keep", "count"), [(0.01, 1), (0.5, 2), (0.51, 3), (1.0, 4)])
def test_top_k_shares_the_largest_of_every_batch(keep, count):
    values, known = _sent.send({"w": GRADIENT}, {}, "top-k", keep)
    orders = [[0, 1, 2, 3], [2, 1, 0, 3]]
    for row, order in enumerate(orders):
        shared = set(order[:count]) if (row, count) != (1, 3) else {2, 1, *known["w"][1].nonzero().flatten().tolist()}
        assert set(known["w"][row].nonzero().flatten().tolist()) == shared
        assert len(shared) == count
    assert torch.equal(values["w"], GRADIENT * known["w"])


@pytest.mark.known_answer
def test_pruned_entries_do_not_count():
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    pruned = GRADIENT[:1] * mask
    assert _sent.send({"w": pruned}, {"w": mask}, "top-k", 0.5)[0]["w"].tolist() == [[4, 0, 0, 0]]
    assert _sent.send({"w": pruned}, {"w": mask}, "sign", 0.5)[0]["w"].tolist() == [[3.5, -3.5, 0, 0]]


@pytest.mark.known_answer
def test_signs_times_the_mean_size():
    values, known = _sent.send({"w": GRADIENT}, {}, "sign", 0.1)
    assert values["w"].tolist() == [[1.875, -1.875, 1.875, 0], [-3, 3, -3, 3]]
    assert not known


@pytest.mark.known_answer
def test_eight_bits_by_hand():
    # The step of the first row is 4 / 127: -3 is -95.25 steps, 0.5 is 15.875; of the second 8 / 127.
    values, known = _sent.send({"w": GRADIENT}, {}, "8 bit", 0.1)
    steps = [[127, -95, 16, 0], [-16, 32, -127, 16]]
    for row, size in enumerate((4, 8)):
        assert values["w"][row].tolist() == pytest.approx([s * size / 127 for s in steps[row]])
    assert not known
    nothing = torch.zeros(1, 3, dtype=torch.float64)
    assert _sent.send({"w": nothing}, {}, "8 bit", 0.1)[0]["w"].tolist() == [[0, 0, 0]]


@pytest.mark.known_answer
def test_what_is_held_against_what_was_shared():
    known = {"w": torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)}
    one = {"w": GRADIENT[:1]}
    assert _sent.likened(one, known, {}, "top-k")["w"].tolist() == [[4, 0, 0, 0]]
    assert torch.equal(_sent.likened(one, {}, {}, "8 bit")["w"], GRADIENT[:1])
    # The mean size is 15/8: of 4 it leaves 15/8 * 4 / sqrt(16 + (15/4)^2).
    soft = _sent.likened(one, {}, {}, "sign")["w"][0]
    assert soft.tolist() == pytest.approx([1.875 * g / (g**2 + 3.75**2) ** 0.5 for g in GRADIENT[0].tolist()])
    assert _sent.likened({"w": 0 * GRADIENT[:1]}, {}, {}, "sign")["w"].tolist() == [[0, 0, 0, 0]]
