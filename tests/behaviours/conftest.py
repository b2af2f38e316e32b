"""Answers that are made of given columns."""

import numpy as np
import pytest
import torch

from whatelse.answer import Answer, Parts


@pytest.fixture
def answer_of():
    def make(columns, parts=()):
        """An answer of columns by name, in double precision as statistics ask for it."""
        return Answer({name: torch.from_numpy(np.array(c, float)) for name, c in columns.items()}, parts=Parts(parts))

    return make
