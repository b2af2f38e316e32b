import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib import resources

import pytest

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

BUDGETS = '[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.01\n'


def gate(*args, cwd):
    call = [sys.executable, "-c", "from whatelse.cli.app import main; main()", "gate", *args]
    return subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def folder(tmp_path, world):
    effects = {"go": 0.0, "no": -0.5, "open": -0.01}
    found = [world.finding(effect, candidate=name, primary=True) for name, effect in effects.items()]
    (tmp_path / "f.json").write_text(json.dumps(world.document(*found, candidates=tuple(effects))))
    (tmp_path / "b.toml").write_text(BUDGETS)
    return tmp_path


@pytest.mark.parametrize(("name", "code", "word"), [("go", 0, "GO"), ("no", 1, "NO-GO"), ("open", 2, "INCONCLUSIVE")])
def test_exit_codes(name, code, word, folder):
    run = gate("f.json", "--budgets", "b.toml", "--candidate", name, cwd=folder)
    assert (run.returncode, run.stderr) == (code, "")
    assert f" {word}: {name}" in run.stdout.splitlines()[-1]


def test_everything_is_written_and_the_worst_decides(folder):
    files = ("--junit", "g.xml", "--markdown", "g.md", "--json", "g.json")
    run = gate("f.json", *files, "--quiet", cwd=folder)
    assert (run.returncode, run.stdout, run.stderr) == (1, "", "")
    assert ET.parse(folder / "g.xml").getroot().get("failures") == "1"
    assert (folder / "g.md").read_text("utf-8").startswith("## ▼ NO-GO: 1 of 3 candidates")
    read = json.loads((folder / "g.json").read_text("utf-8"))
    assert (read["verdict"], read["title"]) == ("NO-GO", "default budgets"), "without --budgets the defaults decide"
    several = gate("f.json", "--candidate", "go", "--candidate", "open", "--json", "-", cwd=folder)
    assert several.returncode == 2
    assert [c["name"] for c in json.loads(several.stdout)["candidates"]] == ["go", "open"]


def test_missing_of_a_critical_budget_is_inconclusive(folder):
    (folder / "b.toml").write_text(BUDGETS + '[[budgets]]\nbehaviour = "fairness.worst_group"\nmost = 0.02\n')
    run = gate("f.json", "--budgets", "b.toml", "--candidate", "go", cwd=folder)
    assert run.returncode == 2
    assert "missing" in run.stdout


def test_the_defaults_are_given_away(folder):
    assert gate("--copy", "mine.toml", cwd=folder).returncode == 0
    shipped = resources.files("whatelse").joinpath("gate", "default.toml").read_text("utf-8")
    assert (folder / "mine.toml").read_text("utf-8") == shipped
    assert gate("f.json", "--budgets", "mine.toml", "--candidate", "go", cwd=folder).returncode == 0


@pytest.mark.parametrize(
    ("args", "old", "new", "words"),
    [
        ((), "", "", ("no FINDINGS",)),
        (("none.json",), "", "", ("none.json", "cannot be read")),
        (("b.toml",), "", "", ("b.toml", "not JSON")),
        (("f.json", "--budgets", "none.toml"), "", "", ("none.toml", "No such file", "--copy")),
        (("f.json", "--candidate", "gone"), "", "", ("--candidate", "'gone'", "did you mean go?")),
        (("f.json", "--junit", "no/where.xml"), "", "", ("cannot write no/where.xml",)),
        (("f.json", "--budgets", "b.toml"), "most", "mots", ("b.toml", "no key 'mots'", "did you mean most")),
        (("f.json", "--budgets", "b.toml"), "0.01", "-1", ("budgets[0].most=-1.0", "0 or more")),
        (("f.json", "--budgets", "b.toml"), ".accuracy", ".acuracy", ("did you mean generalization.accuracy",)),
        (("f.json", "--budgets", "b.toml"), BUDGETS, "budgets = []", ("critical",)),
        (("f.json", "--budget", "b.toml"), "", "", ("--budget",)),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_3(args, old, new, words, folder):
    (folder / "b.toml").write_text(BUDGETS.replace(old, new) if old else BUDGETS)
    before = sorted(folder.iterdir())
    run = gate(*args, cwd=folder)
    assert run.returncode == 3, run.stdout + run.stderr
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith("whatelse: ")
    for word in words:
        assert word in run.stderr
    assert sorted(folder.iterdir()) == before


def test_findings_without_a_candidate_are_unusable(folder, world):
    (folder / "f.json").write_text(json.dumps(world.document(world.finding(candidate="placebo"), candidates=())))
    run = gate("f.json", cwd=folder)
    assert run.returncode == 3
    assert "none of them has the role candidate" in run.stderr


def test_the_gate_needs_no_torch(folder):
    code = (
        "import sys; from whatelse import surfaces; from whatelse.gate import command;"
        "decided = command.rule('f.json', '', (), ());"
        "[surfaces.surface('gate_surfaces', name).text(*decided) for name in surfaces.written('gate_surfaces')];"
        "print([m for m in ('torch', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "[]", run.stderr
