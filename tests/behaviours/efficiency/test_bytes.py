import pytest
import torch

from whatelse.behaviours.efficiency import bytes as size
from whatelse.layers.quantized import Quantized


def measured(evidence, rng):
    return size.measure(evidence, size.Config(), rng)


@pytest.mark.known_answer
def test_a_dense_tensor_takes_four_bytes_a_number(toy, net, task, rng):
    answer = measured(toy.evidence_of(net, task), rng)
    assert answer["bytes"].tolist() == [4 * 54, 4 * 3, 4 * 108, 4 * 8, 4 * 2]
    assert size.summarise(answer, size.Config(), toy.ones(answer)) == pytest.approx([4 * 175])


@pytest.mark.known_answer
def test_a_sparse_tensor_takes_its_mask_and_its_values(toy, net, task, rng):
    with torch.no_grad():
        net.linear.weight[:, :20] = 0  # 28 of 108 are left: 112 bytes, and 14 for the mask
    answer = measured(toy.evidence_of(net, task), rng)
    assert sorted(answer["bytes"].tolist()) == sorted([4 * 54, 4 * 3, 112, 14, 4 * 8, 4 * 2])
    assert int(answer["bytes"].sum()) == 700 - 432 + 126


@pytest.mark.known_answer
def test_a_quantized_layer_takes_its_packed_codes(toy, net, task, rng):
    tight = Quantized.of(net.linear, 3, 8)
    tight.fold(net.linear.weight)
    tight.round_input.low.fill_(-1)
    net.linear = tight
    answer = measured(toy.evidence_of(net, task), rng)
    # 108 codes of 3 bits in 41 bytes, a scale for each of 4 outputs, two bounds of the activations.
    assert sorted(answer["bytes"].tolist()) == sorted([4 * 54, 4 * 3, 41, 16, 4, 4, 4 * 8, 4 * 2])


def test_what_cannot_be_saved_takes_what_its_tensors_take_and_says_so(toy, task, rng):
    class Odd(torch.nn.Linear):
        pass

    evidence = toy.evidence_of(torch.nn.Sequential(torch.nn.Flatten(), Odd(72, 2)), task)
    answer = measured(evidence, rng)
    assert answer["bytes"].tolist() == [4 * 144, 4 * 2]
    assert "as they lie, since this package cannot save it: " in answer.notes[0]
    assert "Odd" in answer.notes[0]
