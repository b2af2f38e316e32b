"""What the fresh process of `artifact.prove` runs: load a folder, answer given inputs, write the answers."""

from __future__ import annotations

import sys

import torch
from safetensors.torch import load_file, save_file

from whatelse import artifact


def main() -> None:
    """Read the folder, the inputs and the place of the outputs from the command line."""
    folder, given, said = sys.argv[1:]
    model = artifact.load(folder)
    with torch.no_grad():
        outputs = model(load_file(given)["inputs"])
    save_file({"outputs": outputs.contiguous()}, said)


if __name__ == "__main__":
    main()
