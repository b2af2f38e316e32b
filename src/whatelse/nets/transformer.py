"""A small transformer encoder that classifies sequences of tokens.

Token ids come as numbers, ``(N, T)``, id 0 being padding that nothing attends to. Embedding plus learned positions,
then ``depth`` blocks of self-attention and a two-layer perceptron with GELU, each after a layer norm and with a
residual connection; a layer norm, the mean over tokens that are not padding, a linear head. The projections of
queries, keys and values are layers of their own, the size of a head is fixed and the number of heads is read from the
width of what they return: heads can be removed.

Source:
    Vaswani et al., Attention is all you need, NeurIPS 2017, arXiv:1706.03762; layer norm before each part: Xiong et
    al., On layer normalization in the transformer architecture, ICML 2020, arXiv:2002.04745.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import SettingError, TaskError
from whatelse.settings import param
from whatelse.training import initialize

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Settings of the transformer encoder."""

    vocabulary: int = param(1000, "Number of token ids, padding (id 0) included.", low=2)
    width: int = param(64, "Features of a token; a multiple of the number of heads.", low=1)
    heads: int = param(4, "Attention heads a block.", low=1)
    depth: int = param(2, "Blocks.", low=1, high=1000)
    hidden: int = param(128, "Units of the hidden layer of each perceptron.", low=1)


def build(config: Config, shape: tuple[int, ...], classes: int, rng: torch.Generator) -> nn.Module:
    """Return an untrained network.

    Args:
        config: Its size.
        shape: Shape of one input, ``(tokens,)``.
        classes: Number of outputs.
        rng: Source of the initial weights.

    Raises:
        TaskError: The inputs are not sequences.
        SettingError: The width is not a multiple of the number of heads.
    """
    if len(shape) != 1:
        raise TaskError(f"nets.transformer: inputs of shape {shape}; it takes sequences of token ids, (tokens,)")
    if config.width % config.heads:
        raise SettingError(f"nets.transformer: width={config.width} is not a multiple of heads={config.heads}")
    with torch.device("meta"):
        model = _Transformer(config, shape[0], classes)
    model.to_empty(device="cpu")
    initialize.initialize(model, rng)
    return model


class _Transformer(nn.Module):
    def __init__(self, config: Config, length: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Parameter(torch.empty(length, config.width))
        self.blocks = nn.Sequential(*(_Block(config) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, classes)

    def forward(self, x: Tensor) -> Tensor:
        ids = x.long()
        h = self.embedding(ids) + self.positions
        told = ids.ne(0).type_as(h)
        # A large number in place of infinity: a sequence of nothing but padding stays finite.
        blind = ((told - 1) * 1e9).unsqueeze(1).unsqueeze(2)
        for block in self.blocks:
            h = block(h, blind)
        mean = (self.norm(h) * told.unsqueeze(2)).sum(1) / told.sum(1).clamp(1).unsqueeze(1)
        out: Tensor = self.head(mean)
        return out


class _Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.size = width // config.heads
        self.norm1 = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.linear1, self.linear2 = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)

    def forward(self, h: Tensor, blind: Tensor) -> Tensor:
        x = self.norm1(h)
        q, k, v = (part(x).unflatten(2, (-1, self.size)).transpose(1, 2) for part in (self.query, self.key, self.value))
        seen = functional.scaled_dot_product_attention(q, k, v, blind)
        h = h + self.out(seen.transpose(1, 2).flatten(2))
        out: Tensor = h + self.linear2(functional.gelu(self.linear1(self.norm2(h))))
        return out
