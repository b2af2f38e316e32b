"""What a shell offers: names of commands, options, items and kinds, as bash asks for them."""

import os
import subprocess
import sys

import pytest

from whatelse import registry
from whatelse.cli import complete

CALL = (sys.executable, "-c", "import sys; sys.argv[0] = 'whatelse'; from whatelse.cli import main; main()")


def offered(*words, cwd):
    environment = {**os.environ, "_WHATELSE_COMPLETE": "complete_bash"}
    environment |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    run = subprocess.run(CALL, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert run.stderr == ""
    return run.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["whatelse", "au"], ["audit"]),
        (["whatelse", "list", "be"], ["behaviours"]),
        (["whatelse", "study", "ad"], ["adult"]),
        (["whatelse", "audit", "--on", "proc"], ["processes"]),
        (["whatelse", "report", "--ju"], ["--junit"]),
        (["whatelse", "new", "met"], ["method"]),
    ],
)
def test_a_shell_is_offered_what_begins_so(tmp_path, words, expected):
    assert offered(*words, cwd=tmp_path) == expected


def test_the_last_step_of_a_recipe_is_completed():
    assert complete.steps("prune.magnitude() > quantize.int8") == ["prune.magnitude() > quantize.int8"]
    assert complete.steps("quan") == [name for name in registry.names("methods") if name.startswith("quan")]
    assert complete.steps("a.b>nothing") == []


def test_completion_can_be_installed_and_shown(tmp_path, whatelse):
    told = whatelse("--help", cwd=tmp_path).stdout
    assert "--install-completion" in told
    assert "--show-completion" in told
