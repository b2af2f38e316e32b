"""An operation is refused before it is done, by shapes alone, and what is allowed goes through unchanged."""

import time
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse import limits
from whatelse.errors import ArtifactError
from whatelse.modules import arithmetic, foretell


def asked(work, memory="64M", seconds=2.0):
    with limits.within(memory, seconds), foretell.foretold("m", 0, ArtifactError):
        return work()


ONE = torch.ones(1)
# Each by the memory or the time that it would take, worked out by hand beside it.
MEMORY = {
    "pad": (lambda: functional.pad(ONE, (0, 2**30)), "4 GiB"),
    "repeat": (lambda: ONE.repeat(2**15, 2**15), "4 GiB"),
    "arange": (lambda: torch.arange(2**29), "4 GiB"),  # int64
    "outer": (lambda: ONE.expand(2**15, 1) * ONE.expand(1, 2**15), "4 GiB"),
    "half": (lambda: ONE.half().repeat(2**31), "4 GiB"),
    "upsample": (lambda: functional.interpolate(torch.ones(1, 1, 2, 2), scale_factor=2.0**14), "4 GiB"),
    "convolution": (lambda: functional.conv2d(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), padding=2**14), "4"),
    "pool": (lambda: nn.AdaptiveAvgPool2d(2**15)(torch.ones(1, 1, 2, 2)), "4 GiB"),
}


@pytest.mark.known_answer
@pytest.mark.parametrize("name", MEMORY)
def test_memory_is_foretold(name):
    work, size = MEMORY[name]
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=rf"m would take {size}.* of memory; allowed are 64 MiB; --max-memory"):
        asked(work)
    assert time.monotonic() - started < 30, "the first meta operation of a process imports much"


SLOW = {
    # Each by what it does, from a few bytes: 10**14 operations, 10**10, 10**12, 10**12, 10**11.
    "product": lambda: ONE.expand(7000, 10**7) @ ONE.expand(10**7, 700),
    "sum": lambda: ONE.expand(10**10).sum(),
    "window": lambda: functional.max_pool2d(torch.ones(1, 1, 2000, 2000), 1000, 1),
    "attention": lambda: functional.scaled_dot_product_attention(*[ONE.expand(1, 1, 2 * 10**5, 8)] * 3),
    "grouped": lambda: functional.conv2d(torch.ones(1, 64, 300, 300), torch.ones(64, 1, 99, 99), groups=64),
}


@pytest.mark.parametrize("name", SLOW)
def test_time_is_foretold(name):
    with pytest.raises(ArtifactError, match=r"m would take more than 2 seconds"):
        asked(SLOW[name], "1T")


def test_many_small_operations_are_stopped_when_the_time_is_over():
    def work():
        x = ONE
        while True:
            x = x + 1

    with pytest.raises(ArtifactError, match=r"m takes more than 0.3 seconds"):
        asked(work, seconds=0.3)


@pytest.mark.parametrize("work", [lambda x: x.unbind(), lambda x: x.split(1), lambda x: x.chunk(10**9), list])
def test_a_tensor_is_not_cut_into_a_million_objects(work):
    with pytest.raises(ArtifactError, match="cuts a tensor into more than 100000 pieces"):
        asked(lambda: work(ONE.expand(10**9)))
    assert len(asked(lambda: work(ONE.expand(50)))) == 50


def test_what_is_freed_counts_no_more_and_what_is_held_does():
    def freed():
        for _ in range(20):
            x = torch.ones(2**22)  # 16 MiB
        return x

    assert asked(freed).numel() == 2**22
    with pytest.raises(ArtifactError, match="of memory"):
        asked(lambda: [torch.ones(2**22) for _ in range(20)])


def test_the_error_gets_through_code_that_catches_everything():
    def work():
        try:
            functional.pad(ONE, (0, 2**30))
        except Exception:
            return

    with pytest.raises(ArtifactError, match="of memory"):
        asked(work)
    with pytest.raises(KeyError):  # and another error stays what it is
        asked(lambda: {}["x"])


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Softmax(1)),
        nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(64, 4, 16, batch_first=True)),
    ],
    ids=["convolutions", "linear", "encoder"],
)
def test_what_is_allowed_says_the_same_as_ever(model):
    model, x = model.eval(), torch.rand(2, 1, 8, 8)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        assert torch.allclose(asked(lambda: model(x), seconds=60), model(x), atol=1e-6)
        assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    ("work", "a", "b"),
    [
        ("pow", 10, 10**9),
        ("pow", 3**20, 3**20),
        ("mul", 2**63, 2**63 * 4),
        ("mul", [1], 10**9),
        ("mul", 10**9, (1,)),
        ("mul", "x", 3),
        ("mod", "%99999d", 1),
        ("add", (1,) * 600, (2,) * 600),
        ("iadd", [1] * 600, [2] * 600),
        ("add", "x", "y"),
    ],
)
def test_plain_arithmetic_that_grows_is_refused(work, a, b):
    with pytest.raises(ArtifactError, match=f"computes {work} of plain values"):
        vars(arithmetic)[work](a, b)


@pytest.mark.known_answer
def test_plain_arithmetic_of_shapes_is_done():
    assert (arithmetic.add(2, 3), arithmetic.mul(4, 0.5)) == (5, 2.0)
    assert (arithmetic.pow(8, 0.5), arithmetic.mod(7, 4)) == (8**0.5, 3)
    assert arithmetic.pow(2, 10) == 1024
    assert arithmetic.add((1, 2), (3,)) == (1, 2, 3)
    assert arithmetic.mul((1,), 3) == (1, 1, 1)
    assert torch.equal(arithmetic.add(ONE, 1), ONE + 1)
    x = ONE.clone()
    assert arithmetic.iadd(x, 2) is x
    assert x.item() == 3
