"""A second device on a machine that has none: `elsewhere.cpp`, compiled once a run."""

import shutil
import types
import warnings
from pathlib import Path

import pytest
import torch

SOURCE = Path(__file__).with_name("elsewhere.cpp")


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """Return the name of a device whose memory torch keeps apart from the CPU's, and whose arithmetic is the same."""
    for tool in ("g++", "ninja"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}, to compile a second device")
    from torch.utils import cpp_extension

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = str(tmp_path_factory.mktemp("elsewhere"))
        cpp_extension.load("elsewhere", [str(SOURCE)], extra_cflags=["-O0"], build_directory=folder)
        torch.utils.rename_privateuse1_backend("elsewhere")
    module = types.ModuleType("torch.elsewhere")
    module.is_available, module.device_count, module.current_device = (lambda: True), (lambda: 1), (lambda: 0)
    module._is_in_bad_fork, module.manual_seed_all = (lambda: False), (lambda seed: None)
    module.get_rng_state = lambda *of: torch.get_rng_state()
    torch._register_device_module("elsewhere", module)
    return "elsewhere"
