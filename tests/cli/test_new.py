import json
import sys


def test_new_writes_an_item_that_items_takes_up(tmp_path, whatelse, refused):
    made = whatelse("new", "behaviour", "fairness.my_gap", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "written: my_gap.py and test_my_gap.py" in made.stdout
    listed = json.loads(whatelse("list", "behaviours", "--items", "my_gap.py", "--json", "-", cwd=tmp_path).stdout)
    (mine,) = [card for card in listed["behaviours"] if card["origin"]]
    assert (mine["name"], mine["origin"], mine["needs"]) == ("fairness.my_gap", "my_gap.py", ["predicts"])
    table = whatelse("list", "behaviours", "--items", ".", cwd=tmp_path).stdout
    assert "my_gap.py" in table
    assert refused(whatelse("new", "behaviour", "fairness.my_gap", cwd=tmp_path), "my_gap.py is there already")
    assert refused(whatelse("new", "thing", "x", cwd=tmp_path), "'thing': no such kind of item")


def test_a_file_that_is_no_item_is_one_line(tmp_path, whatelse, refused):
    (tmp_path / "mine.py").write_text("X = 1\n")
    assert refused(whatelse("list", "--items", "mine.py", cwd=tmp_path), "mine.py: no ITEM; a file of your own")
    assert refused(whatelse("list", "--items", "absent.py", cwd=tmp_path), "absent.py: No such file or directory")


def test_listing_imports_nothing_heavy_also_of_files(tmp_path, whatelse):
    import subprocess

    assert whatelse("new", "method", "mine.clip", cwd=tmp_path).returncode == 0
    code = (
        "import sys; sys.argv = ['whatelse', 'list', '--items', '.', '--json', '-'];"
        "from whatelse.cli import app; app.app(standalone_mode=False);"
        "print([m for m in ('torch', 'numpy', 'scipy', 'sklearn') if m in sys.modules], file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stderr.strip() == "[]", run.stderr
    assert "mine.clip" in run.stdout
