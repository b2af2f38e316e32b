import math

import pytest
import torch

from whatelse.errors import SettingError, TaskError
from whatelse.modules import codec
from whatelse.nets import transformer
from whatelse.training.loop import Schedule, fit, hard_labels

CONFIG = transformer.Config(vocabulary=11, width=8, heads=2, depth=2, hidden=12)


def normed(x, part):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / ((x - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt() * part.weight + part.bias


def slow(model, ids, heads):
    """One sequence without its padding, head by head."""
    kept = [i for i, token in enumerate(ids) if token]
    h = torch.stack([model.embedding.weight[ids[i]] + model.positions[i] for i in kept])
    for block in model.blocks:
        x = normed(h, block.norm1)
        q, k, v = (x @ part.weight.T + part.bias for part in (block.query, block.key, block.value))
        size = q.shape[1] // heads
        seen = []
        for i in range(heads):
            at = slice(i * size, (i + 1) * size)
            scores = torch.softmax(q[:, at] @ k[:, at].T / math.sqrt(size), 1)
            seen.append(scores @ v[:, at])
        h = h + torch.cat(seen, 1) @ block.out.weight.T + block.out.bias
        x = normed(h, block.norm2) @ block.linear1.weight.T + block.linear1.bias
        x = x * (1 + torch.erf(x / math.sqrt(2))) / 2
        h = h + x @ block.linear2.weight.T + block.linear2.bias
    return normed(h, model.norm).mean(0) @ model.head.weight.T + model.head.bias


@pytest.mark.known_answer
@torch.no_grad()
def test_its_function_is_that_of_the_paper_without_the_padding(rng):
    model = transformer.build(CONFIG, (6,), 3, rng).eval()
    for p in model.parameters():
        p.uniform_(-0.7, 0.7, generator=rng)
    rows = [[3, 1, 4, 1, 5, 9], [2, 7, 0, 0, 0, 0], [0, 0, 8, 0, 2, 0]]
    out = model(torch.tensor(rows).float())
    for row, logits in zip(rows, out, strict=True):
        assert torch.allclose(logits, slow(model, row, 2), atol=1e-5)
    assert model(torch.zeros(2, 6)).isfinite().all()


def test_it_can_be_saved_and_the_batch_size_is_free(rng):
    model = transformer.build(CONFIG, (6,), 3, rng).eval()
    again = codec.decode(*codec.encode(model))
    for count in (1, 5):
        ids = torch.randint(0, 11, (count, 6), generator=rng).float()
        assert torch.equal(again(ids), model(ids))


def test_it_learns_which_of_two_tokens_comes_first(rng):
    ids = torch.randint(3, 11, (200, 6), generator=rng)
    first = torch.randint(0, 2, (200,), generator=rng)
    ids[torch.arange(200), 0], ids[torch.arange(200), 4] = 1 + first, 2 - first
    model = transformer.build(CONFIG, (6,), 2, rng)
    fit(model, ids.float(), hard_labels(first), Schedule(15, 8e-3, 50), rng)
    assert float((model(ids.float()).argmax(1) == first).float().mean()) > 0.95


def test_impossible_sizes_are_refused(rng):
    with pytest.raises(SettingError, match="width=10 is not a multiple of heads=4"):
        transformer.build(transformer.Config(width=10), (6,), 3, rng)
    with pytest.raises(TaskError, match="it takes sequences of token ids"):
        transformer.build(transformer.Config(), (1, 8, 8), 3, rng)
