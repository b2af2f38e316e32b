import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save


def test_help_is_worth_reading(tmp_path, whatelse):
    run = whatelse("--help", cwd=tmp_path)
    assert run.returncode == 0
    assert "What else changed?" in run.stdout
    for command in ("list", "table", "study", "compress", "report"):
        assert command in run.stdout
        assert whatelse(command, "--help", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("lst",), ("No such command", "list")),
        (("list", "methds"), ("no such kind of item", "did you mean methods")),
        (("study", "none.toml"), ("none.toml", "No such file")),
        (("study",), ("Missing argument",)),
        (("table", "--workers", "many"), ("--workers",)),
        (("report", "none.json"), ("none.json",)),
        (
            ("audit", "a", "b", "--data", "digits", "--max-memory", "much"),
            ("--max-memory='much'", "such as 500M or 8G"),
        ),
        (("table", "--on", "rai"), ("no such engine", "ray")),
        (("table", "--json", "no/where.json"), ("cannot write no/where.json", "nothing was done")),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_3(args, words, tmp_path, whatelse, refused):
    assert refused(whatelse(*args, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_a_command_is_a_command_and_no_other():
    from whatelse.cli import app

    files = {p.stem for p in Path(app.__file__).parent.glob("*.py")}
    found = app.commands()
    assert list(found)[:8] == ["list", "table", "study", "compress", "search", "audit", "gate", "report"]
    assert set(found) <= files - {"__init__", "app", "files", "options", "progress", "running"}
    assert all(file.command.__doc__ for file in found.values()), "the docstring is the help"


def test_without_a_word_there_is_help(tmp_path, whatelse):
    run = whatelse(cwd=tmp_path)
    assert "What else changed?" in run.stdout + run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("call", ["['--help']", "['list']", "['audit', '--help']"])
def test_help_and_listing_wait_for_nothing_heavy(call):
    code = (
        "import sys\nfrom whatelse.cli import app\n"
        f"app.app({call}, standalone_mode=False)\n"
        "print([m for m in ('torch', 'numpy', 'scipy', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1] == "[]", run.stdout + run.stderr
