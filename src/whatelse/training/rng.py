"""For code that can only draw from the generator of the process: lend it one, and give the process its own back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def fork_rng(rng: torch.Generator) -> Generator[None, None, None]:
    """Make draws from the process's generator depend on ``rng`` alone; neither generator moves.

    Dropout layers, fused attention and outside libraries draw from the process's generator.

    Args:
        rng: Decides the draws; it is read, not advanced.
    """
    before = torch.get_rng_state()
    seed = int(torch.randint(2**62, (), generator=rng.clone_state()))
    torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    try:
        yield
    finally:
        torch.set_rng_state(before)
