"""A study small enough to run in seconds, and an engine that runs jobs in this process."""

import numpy as np
import pytest

from whatelse.engines.inline import Inline

SMALL = """
name = "small"
title = "Small"
seeds = [0, 1]
draws = 200
[net]
item = "cnn"
settings = { width = 4, hidden = 16 }
[tasks.clean]
data = "digits"
title = "Digits"
baseline = "train.scratch(epochs={epochs})"
values = { epochs = 6 }
[controls]
placebo = "train.finetune(epochs=1)"
twin = ""
[[candidates]]
name = "half"
family = "prune"
level = "strong"
recipe = "prune.magnitude(sparsity=0.9) > train.finetune(epochs=1)"
[[rows]]
name = "overfitting"
title = "Overfitting"
[[measurements]]
row = "overfitting"
item = "generalization.accuracy"
label = "accuracy"
tasks = ["clean"]
margin = 0.02
primary = true
"""


TINY = """
name = "tiny"
title = "Tiny"
seeds = [0, 1]
draws = 100
[net]
item = "mlp"
settings = { hidden = "6" }
[tasks.own]
data = "arrays"
title = "Arrays of one's own"
baseline = "train.scratch(epochs={epochs}, batch=20)"
settings = { path = "FILE" }
values = { epochs = 2 }
references = 2
[controls]
placebo = "train.finetune(epochs=1, batch=20)"
twin = ""
[[candidates]]
name = "half"
family = "prune"
level = "strong"
recipe = "prune.magnitude(sparsity=0.8) > train.finetune(epochs=1, batch=20)"
[[rows]]
name = "overfitting"
title = "Overfitting"
[[rows]]
name = "membership"
title = "Membership"
[[measurements]]
row = "overfitting"
item = "generalization.accuracy"
label = "accuracy"
tasks = ["own"]
margin = 0.02
primary = true
[[measurements]]
row = "membership"
item = "membership.reference"
label = "reference"
tasks = ["own"]
margin = 0.02
primary = true
"""


def _arrays(path, seed=0):
    """Write 120 images of three classes that a small network learns in part."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, 120)
    inputs = rng.random((120, 1, 4, 4)) + 0.3 * np.eye(3, 16)[targets].reshape(-1, 1, 4, 4)
    np.savez(path, inputs=(inputs / 1.3).astype(np.float32), targets=targets)


@pytest.fixture
def arrays():
    return _arrays


@pytest.fixture
def tiny(tmp_path):
    """A study of a second, shadow models and exhibits included, on a file of arrays."""
    _arrays(tmp_path / "own.npz")
    return TINY.replace("FILE", str(tmp_path / "own.npz"))


@pytest.fixture
def small():
    return SMALL


@pytest.fixture
def inline():
    return Inline()
