import pytest
import torch

from whatelse.behaviours.efficiency import parameters
from whatelse.layers.quantized import Quantized

CONV, BIAS, LINEAR, HEAD = 3 * 2 * 9, 3, 27 * 4, 4 * 2


@pytest.mark.known_answer
def test_every_tensor_counts_its_nonzero_weights(toy, net, task, rng):
    with torch.no_grad():
        net.conv.weight[0] = 0
        net.linear.weight[:, :7] = 0
        net.head.bias[1] = 0
    answer = parameters.measure(toy.evidence_of(net, task), parameters.Config(), rng)
    assert answer["weights"].tolist() == [CONV - 18, BIAS, LINEAR - 28, HEAD, 1]
    assert parameters.summarise(answer, parameters.Config(), toy.ones(answer)) == pytest.approx([36 + 3 + 80 + 8 + 1])


@pytest.mark.known_answer
def test_a_quantized_layer_counts_its_nonzero_codes(toy, net, task, rng):
    with torch.no_grad():
        net.linear.weight.fill_(1.0)
        net.linear.weight[0, :5] = 0.01  # rounds to zero at 2 bits
    tight = Quantized.of(net.linear, 2, 8)
    tight.fold(net.linear.weight)
    net.linear = tight
    answer = parameters.measure(toy.evidence_of(net, task), parameters.Config(), rng)
    assert answer["weights"].tolist() == [CONV, BIAS, LINEAR - 5, HEAD, 2]


def test_shared_tensors_count_once(toy, task, rng):
    first, second = torch.nn.Linear(72, 72, bias=False), torch.nn.Linear(72, 72, bias=False)
    second.weight = first.weight
    model = torch.nn.Sequential(torch.nn.Flatten(), first, second, torch.nn.Linear(72, 2, bias=False))
    answer = parameters.measure(toy.evidence_of(model, task), parameters.Config(), rng)
    assert answer["weights"].tolist() == [72 * 72, 72 * 2]
