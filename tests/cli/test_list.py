import json

from whatelse import registry


def test_the_listing_names_every_item(tmp_path, whatelse):
    found = json.loads(whatelse("list", "--json", "-", cwd=tmp_path).stdout)
    assert [c["name"] for c in found["methods"]] == list(registry.names("methods"))
    assert [c["name"] for c in found["behaviours"]] == list(registry.names("behaviours"))
    accuracy = next(c for c in found["behaviours"] if c["name"] == "generalization.accuracy")
    assert accuracy["needs"] == ["predicts"]
    only = whatelse("list", "methods", cwd=tmp_path)
    assert "prune.magnitude" in only.stdout
    assert "generalization" not in only.stdout


def test_the_listing_goes_to_a_file_as_in_every_command(tmp_path, whatelse, refused):
    run = whatelse("list", "methods", "--json", "found.json", cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert (tmp_path / "found.json").read_text() == whatelse("list", "methods", "--json", "-", cwd=tmp_path).stdout
    assert refused(whatelse("list", "--json", "nowhere/found.json", cwd=tmp_path), "cannot write nowhere/found.json")
