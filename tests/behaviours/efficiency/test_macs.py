import pytest
import torch

from whatelse.behaviours.efficiency import macs
from whatelse.layers.quantized import Quantized
from whatelse.nets import cnn


@pytest.mark.known_answer
def test_each_layer_by_hand(toy, net, task, rng):
    evidence = toy.evidence_of(net, task)
    answer = macs.measure(evidence, macs.Config(), rng)
    # 3 maps of 3x3 from 2 channels with 3x3 kernels.
    assert answer["macs"].tolist() == [3 * 9 * 2 * 9, 27 * 4, 4 * 2]
    assert macs.summarise(answer, macs.Config(), toy.ones(answer)) == pytest.approx([486 + 108 + 8])
    assert evidence.passes.forward == 4


@pytest.mark.known_answer
def test_the_reference_network_in_closed_form(toy, rng):
    model = cnn.build(cnn.Config(width=4, hidden=5), (1, 8, 8), 3, rng)
    task = toy.task_of(torch.rand(4, 1, 8, 8, generator=rng), [0, 1, 2, 0], classes=3)
    answer = macs.measure(toy.evidence_of(model, task), macs.Config(), rng)
    assert answer["macs"].tolist() == [64 * 4 * 9, 16 * 8 * 4 * 9, 4 * 8 * 8 * 9, 8 * 4 * 5, 5 * 3]


def test_groups_masks_and_bits(toy, net, task, rng):
    dense = macs.measure(toy.evidence_of(net, task), macs.Config(), rng)
    with torch.no_grad():
        net.conv.weight.zero_()
    tight = Quantized.of(net.linear, 2, 8)
    tight.fold(net.linear.weight)
    net.linear = tight
    assert macs.measure(toy.evidence_of(net, task), macs.Config(), rng)["macs"].tolist() == dense["macs"].tolist()
    grouped = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 1, groups=2),
        torch.nn.Flatten(),
        torch.nn.Linear(144, 2),
    )
    answer = macs.measure(toy.evidence_of(grouped, task), macs.Config(), rng)
    assert answer["macs"].tolist() == [36 * 4, 288]


def test_hooks_are_gone_after_a_failure(toy, net, task, rng):
    evidence = toy.evidence_of(net, task)
    net.head.forward = lambda _: 1 / 0
    with pytest.raises(ZeroDivisionError):
        macs.measure(evidence, macs.Config(), rng)
    assert not any(part._forward_hooks for part in net.modules())
