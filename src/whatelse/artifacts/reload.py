"""What the fresh process of `artifact.prove` runs: load a folder, answer given inputs, write the answers."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from whatelse.artifacts import folder as artifact
from whatelse.errors import WhatElseError


def main() -> None:
    """Read the folder, the inputs, the place of the outputs and the bytes allowed from the command line."""
    folder, given, said, room = sys.argv[1:]
    _bound(int(room))
    try:
        outputs = artifact.answer(Path(folder), load_file(given)["inputs"])
    except WhatElseError as error:
        sys.exit(str(error))
    save_file({"outputs": outputs.contiguous()}, said)


def _bound(room: int) -> None:
    """Let this process take so much memory more than it has, where the system can hold it to that (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    resource = importlib.import_module("resource")
    told = Path("/proc/self/status").read_text("ascii")
    now = next(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmData:"))
    most = min(1024 * now + room, 2**62)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or most <= hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


if __name__ == "__main__":
    main()
