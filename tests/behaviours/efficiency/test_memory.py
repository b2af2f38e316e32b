import pytest
import torch

from whatelse.behaviours.efficiency import memory


def evidence(toy, model, rng, shape=(8, 1, 8, 8)):
    task = toy.task_of(torch.rand(shape, generator=rng), torch.arange(shape[0]) % 2, bounds=(0, 1))
    return toy.evidence_of(model, task)


@pytest.mark.known_answer
def test_the_peak_is_where_input_and_two_maps_are_alive_at_once(toy, rng):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 8, 3, padding=1), torch.nn.Flatten(),
        torch.nn.Linear(512, 2),
    )  # fmt: skip
    answer = memory.measure(evidence(toy, model, rng), memory.Config(batch=8), rng)
    weights = 4 * (4 * 9 + 4 + 8 * 4 * 9 + 8 + 1024 + 2)
    # At the second convolution: the input (1 channel), its own input (4) and its output (8), 8 images of 64 pixels.
    assert answer["bytes"].tolist() == [weights, 4 * 8 * 64 * (1 + 4 + 8)]
    assert memory.summarise(answer, memory.Config(), toy.ones(answer))[0] == answer["bytes"].sum()


@pytest.mark.known_answer
def test_in_place_work_and_views_cost_nothing_and_a_batch_scales(toy, rng):
    peaks = []
    for inplace in (False, True):
        model = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(inplace), torch.nn.Linear(64, 2)
        )
        peaks.append(
            [memory.measure(evidence(toy, model, rng), memory.Config(batch=n), rng)["bytes"][1] for n in (4, 8)]
        )
    # Plain: the input, the hidden units before and after the ReLU. In place: the hidden units once, and the outputs.
    assert peaks == [[4 * 4 * 192, 4 * 8 * 192], [4 * 4 * (128 + 2), 4 * 8 * (128 + 2)]]


def test_shared_tensors_count_once(toy, rng):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    answer = memory.measure(evidence(toy, model, rng, (8, 2)), memory.Config(), rng)
    assert answer["bytes"][0] == 16
