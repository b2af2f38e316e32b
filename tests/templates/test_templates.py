import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from whatelse import registry, templates
from whatelse.errors import ItemError, StoreError, UnknownItemError
from whatelse.kinds import kind_of

NAMES = {
    "behaviour": "fairness.mine",
    "method": "mine.clip",
    "loader": "clouds",
    "net": "small",
    "strategy": "grid",
    "surface": "lines",
    "control": "trained_longer",
    "engine": "commands",
    "opener": "centers",
    "exhibit": "otherwise",
    "gate_surface": "verdicts",
    "search_surface": "trials",
}
ROOT = Path(__file__).parents[2]


def checkout(folder):
    (folder / "src" / "whatelse").mkdir(parents=True)
    (folder / "src" / "whatelse" / "kinds.py").touch()
    return folder


@pytest.mark.parametrize("word", NAMES)
def test_elsewhere_the_file_says_what_it_is_and_its_test_lies_beside_it(tmp_path, word):
    item, test = templates.write(word, NAMES[word], tmp_path / "new")
    last = NAMES[word].rpartition(".")[2]
    assert (item, test) == (tmp_path / "new" / f"{last}.py", tmp_path / "new" / f"test_{last}.py")
    assert f'ITEM = "{word} {NAMES[word]}"' in item.read_text("utf-8")
    source = registry._source(item)
    assert (source.kind, source.name) == (kind_of(word), NAMES[word])
    assert "$" not in item.read_text("utf-8") + test.read_text("utf-8")
    assert "known_answer" not in test.read_text("utf-8"), "a mark that only this project knows"


@pytest.mark.parametrize("word", NAMES)
def test_in_a_checkout_both_lie_where_ours_do(tmp_path, word):
    item, test = templates.write(word, NAMES[word], checkout(tmp_path))
    folder = registry.KINDS[kind_of(word)].folder
    below = Path(folder, *NAMES[word].split("."))
    assert item == (tmp_path / "src" / "whatelse" / below).with_suffix(".py")
    assert test == tmp_path / "tests" / below.parent / f"test_{below.name}.py"
    assert "ITEM" not in item.read_text("utf-8") + test.read_text("utf-8")
    assert "@pytest.mark.known_answer" in test.read_text("utf-8")
    assert (item.parent / "__init__.py").is_file()


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
def test_what_is_written_in_a_checkout_is_in_style(tmp_path):
    files = [f for word in NAMES for f in templates.write(word, NAMES[word], checkout(tmp_path / word))]
    assert len(files) == 2 * len(NAMES)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"))
    for command in (["check"], ["format", "--check"]):
        call = [sys.executable, "-m", "ruff", *command, "--no-cache", "--config", str(ROOT / "pyproject.toml")]
        options = [f"--config=src=['{tmp_path}/*/src']", *([] if command != ["check"] else ["--ignore=D1,ANN,I001"])]
        run = subprocess.run([*call, *options, *map(str, files)], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_what_is_written_passes_its_test_at_once(tmp_path):
    for word, name in NAMES.items():
        templates.write(word, name, tmp_path)
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", "-W", "error", "."]
    run = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout
    assert "failed" not in run.stdout


@pytest.mark.parametrize(
    ("word", "name", "error", "message"),
    [
        ("behavior", "fairness.mine", UnknownItemError, "did you mean behaviour"),
        ("behaviour", "mine", ItemError, "whatelse new behaviour mine: the name 'mine' has no family"),
        ("surface", "zipfile", ItemError, "would hide Python's own module; choose another name"),
        ("behaviour", "../mine", ItemError, "is not of lower-case words"),
        ("behaviour", "fairness.gap", ItemError, "there is a behaviour of that name; choose another one"),
        (
            "layers",
            "mine",
            ItemError,
            r"no template of the kind layers; there are method, .*; start from one",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, word, name, error, message):
    with pytest.raises(error, match=message) as refused:
        templates.write(word, name, tmp_path)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["clip.py", "test_clip.py"])
def test_nothing_is_written_over(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(StoreError, match=f"{there} is there already; nothing was written"):
        templates.write("method", "mine.clip", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write .*clip.py: Not a directory|File exists"):
        templates.write("method", "mine.clip", tmp_path / "file")
