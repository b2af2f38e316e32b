"""The code blocks of a page, and how each of them is run."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)```([\w-]*)(?: +title=\"([^\"]*)\")?(.*)$")
NOT_RUN, ENDS, PRINTS = "Not run by the tests: ", "Ends with exit code ", "Prints"
RUN = ("bash", "python")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: Behind the fence; empty where none is named.
        title: What readers see above it: the name of a file, how the block ends, or why it is not run.
        text: What stands in it.
        line: Where it starts, from 1.
        rest: What else stands behind the fence.
    """

    language: str
    title: str
    text: str
    line: int
    rest: str

    @property
    def skipped(self):
        return self.title.removeprefix(NOT_RUN) if self.title.startswith(NOT_RUN) else ""

    @property
    def file(self):
        return self.title if re.fullmatch(r"[\w./-]+\.\w+", self.title) else ""

    @property
    def code(self):
        return int(self.title.removeprefix(ENDS)) if self.title.startswith(ENDS) else 0


def read(text):
    """Every fenced block of a page, in order."""
    found, lines, at = [], text.split("\n"), 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is None:
            at += 1
            continue
        indent, language, title, rest = opened.groups()
        start = at + 1
        at = next(i for i in range(start, len(lines)) if lines[i].strip() == "```")
        inside = "\n".join(line.removeprefix(indent) for line in lines[start:at])
        found.append(Block(language, title or "", inside + "\n", start, rest))
        at += 1
    return found


def runnable(found):
    """Those that are run, or written as files."""
    return [one for one in found if (one.language in RUN and not one.skipped) or one.file]


def run(found, folder, environment):
    """Run the blocks of a page, one after the other, as its reader would.

    Args:
        found: As `read` returns them.
        folder: Where.
        environment: Of every process.
    """
    __tracebackhide__ = True
    printed = ""
    for block in found:
        if block.skipped:
            continue
        if block.file:
            Path(folder, block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, block.file).write_text(block.text, "utf-8")
        elif block.language in RUN:
            printed = _one(block, folder, environment)
        elif block.title == PRINTS:
            for line in block.text.splitlines():
                assert _stands(line, printed), f"line {block.line}: not printed: {line}\nbut\n{printed}"


def _one(block, folder, environment):
    __tracebackhide__ = True
    call = ["bash", "-euo", "pipefail", "-c", block.text] if block.language == "bash" else [sys.executable, "-"]
    given = block.text if block.language == "python" else ""
    ran = subprocess.run(
        call, cwd=folder, env=environment, input=given, capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == block.code, f"line {block.line}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
    return ran.stdout + ran.stderr


def _stands(line, printed):
    """Whether a line was printed, whatever the space between its words and for ``...``."""
    words = " ".join(line.split())
    pattern = ".*?".join(re.escape(part.strip()) for part in words.split("..."))
    return re.search(pattern, " ".join(printed.split())) is not None


def environment(bin_folder):
    """What processes are told: where ``whatelse`` is, one thread, and to go nowhere."""
    kept = {name: value for name, value in os.environ.items() if name not in {"WHATELSE_MUTANT", "COLUMNS"}}
    told = {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    places = [str(bin_folder), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {**kept, **told, "PATH": os.pathsep.join(places)}
