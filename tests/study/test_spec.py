from importlib import resources

import pytest

from whatelse.errors import StudyError
from whatelse.study import spec


def test_the_shipped_study_is_sound():
    text = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    study = spec.parse(text, "table1.toml")
    assert len(study.seeds) >= 5
    assert {c.row for c in study.claims} == {r.name for r in study.rows} - {"efficiency"}
    assert [r.name for r in study.rows if r.status != "measured"] == ["search"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title = ", "titel = ", "study: no key 'titel'; did you mean title"),
        ('name = "small"', "", "the key 'name' is missing"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "at least one seed is needed, none twice"),
        ("seeds = [0, 1]", 'seeds = [0, "1"]', r"study.seeds\[1\]='1' is not of type int"),
        ("seeds = [0, 1]", "seeds = [0, 1", "small.toml: "),
        ('item = "cnn"', 'item = "cn"', "no net named 'cn'; did you mean cnn"),
        ('data = "digits"', 'data = "digit"', "no data door named 'digit'; did you mean digits"),
        ("{epochs}", "{epoch}", r"needs a value 'epoch' that tasks\.\*\.values does not have"),
        (
            "sparsity=0.9",
            "sparsity=2.0",
            r"candidates\[0\].recipe: prune.magnitude: sparsity=2.0 is outside \[0.0, 1.0\]",
        ),
        (
            "generalization.accuracy",
            "generalization.acuracy",
            r"measurements\[0\]: no behaviour named .* did you mean generalization.accuracy",
        ),
        ('tasks = ["clean"]', 'tasks = ["claen"]', r"measurements\[0\].tasks: no 'claen'; did you mean clean"),
        ("primary = true", "", "row 'overfitting' has 0 primary measurements"),
        ("margin = 0.02", "margin = -1", "a margin of 0 or more"),
        ('twin = ""', 'twins = ""', "controls: no 'twins'; did you mean twin"),
        ('level = "strong"', 'control = "placeb"', r"candidates\[0\].control: no 'placeb'"),
        ('level = "strong"', 'control = "scratch"', r"candidates\[0\].control: no 'scratch'"),
        ("values = { epochs = 6 }", 'values = { epochs = 6 }\ncontrols = ["twin"]', r"on tasks.clean: no 'placebo'"),
        ("{epochs}", "{epochs[0]}", "needs a value"),
        ("[controls]", "references = 3\n[controls]", "an even number"),
        ("[net]", "[net]\nwidth = 3", "study.net: no key 'width'"),
        ("settings = { width = 4, hidden = 16 }", "settings = 3", "is not a table"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(small, old, new, message):
    assert old in small
    with pytest.raises(StudyError, match=message) as error:
        spec.parse(small.replace(old, new, 1), "small.toml")
    assert str(error.value).startswith("small.toml: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"none.toml: No such file"):
        spec.read(tmp_path / "none.toml")


def test_candidates_marked_full_are_checked_always_and_kept_on_demand(small):
    text = small.replace('name = "half"', 'name = "half"\nfull = true', 1)
    assert text != small
    assert [c.name for c in spec.parse(text, "small", full=True).candidates] == [
        c.name for c in spec.parse(small, "small").candidates
    ]
    assert "half" not in [c.name for c in spec.parse(text, "small").candidates]
    with pytest.raises(StudyError, match="did you mean prune"):
        spec.parse(text.replace("prune.magnitude", "prune.magnitud"), "small")


@pytest.mark.parametrize("name", sorted(spec.shipped()))
def test_a_study_that_ships_is_found_by_its_name_and_sound(name):
    study = spec.read(name)
    assert study.name == name
    assert spec.parse(spec.find(name), name).text == study.text
    assert {"placebo", "twin", "random"} <= set(study.controls)
    for family in ("prune", "distill", "quantize", "decompose"):
        assert {c.level for c in study.candidates if c.family == family} == {"mild", "strong"}


def test_a_file_goes_before_a_study_that_ships(small, tmp_path, monkeypatch):
    assert {"adult", "fashion_mnist"} <= set(spec.shipped())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adult").write_text(small)
    assert spec.read("adult").name == "small"
    with pytest.raises(StudyError, match="adlt: No such file or directory; did you mean adult"):
        spec.find("adlt")
    with pytest.raises(StudyError, match=r"adult\.toml: No such file or directory$"):
        spec.find("adult.toml")
