from importlib import resources

import pytest

from whatelse.errors import StudyError
from whatelse.study import spec


def test_the_shipped_study_is_sound():
    text = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    study = spec.parse(text, "table1.toml")
    assert len(study.seeds) >= 5
    assert {c.row for c in study.claims} == {r.name for r in study.rows} - {"efficiency"}
    assert not [r.name for r in study.rows if r.status != "measured"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title = ", "titel = ", "study: no key 'titel'; did you mean title"),
        ('name = "small"', "", "name: missing"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "at least one seed is needed, none twice"),
        ("seeds = [0, 1]", 'seeds = [0, "1"]', r"study.seeds\[1\]: got '1'"),
        ("seeds = [0, 1]", "seeds = [0, 1", "small.toml: "),
        ('item = "cnn"', 'item = "cn"', "no net named 'cn'; did you mean cnn"),
        ('data = "digits"', 'data = "digit"', "no data loader named 'digit'; did you mean digits"),
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
        ("margin = 0.02", "margin = -1", "numbers of 0 or more"),
        ('twin = ""', 'twins = ""', "controls: no 'twins'; did you mean twin"),
        ('level = "strong"', 'control = "placeb"', r"candidates\[0\].control: no 'placeb'"),
        ('level = "strong"', 'control = "scratch"', r"candidates\[0\].control: no 'scratch'"),
        ("values = { epochs = 6 }", 'values = { epochs = 6 }\ncontrols = ["twin"]', r"on tasks.clean: no 'placebo'"),
        ("{epochs}", "{epochs[0]}", "needs a value"),
        ("[controls]", "references = 3\n[controls]", "an even number"),
        ("[net]", "[net]\nwidth = 3", "study.net: no key 'width'"),
        ("settings = { width = 4, hidden = 16 }", "settings = 3", "net.settings: got 3; allowed is a table"),
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
    text = small.replace('name = "half"', 'name = "half"\ntier = "full"', 1)
    assert text != small
    assert [c.name for c in spec.parse(text, "small", tier="full").candidates] == [
        c.name for c in spec.parse(small, "small").candidates
    ]
    assert "half" not in [c.name for c in spec.parse(text, "small").candidates]
    with pytest.raises(StudyError, match="did you mean prune"):
        spec.parse(text.replace("prune.magnitude", "prune.magnitud"), "small")


@pytest.mark.parametrize("name", sorted(spec.shipped()))
def test_a_study_that_ships_is_found_by_its_name_and_sound(name):
    study = spec.read(name, tier="full")
    assert study.name == name
    assert spec.parse(spec.find(name), name).text == study.text
    assert {"placebo", "random", *([] if study.net.model else ["twin"])} <= set(study.controls)
    for family in ("prune", "distill", "quantize", "decompose"):
        levels = [c.level for c in study.candidates if c.family == family]
        assert "strong" in levels, "what is shown in pictures"


def test_a_file_goes_before_a_study_that_ships(small, tmp_path, monkeypatch):
    assert {"adult", "fashion_mnist"} <= set(spec.shipped())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adult").write_text(small)
    assert spec.read("adult").name == "small"
    with pytest.raises(StudyError, match="adlt: No such file or directory; did you mean adult"):
        spec.find("adlt")
    with pytest.raises(StudyError, match=r"adult\.toml: No such file or directory$"):
        spec.find("adult.toml")


MORE = """
[[measurements]]
row = "overfitting"
item = "generalization.shift"
label = "under noise"
tasks = ["clean"]
margin = 0.02
settings = { kind = "noise", severity = 1 }
full_settings = { severity = 0 }
[[measurements]]
row = "overfitting"
item = "generalization.ece"
label = "calibration"
tasks = ["clean"]
margin = 0.02
tier = "full"
[[claims]]
row = "overfitting"
claim = "It is calibrated."
source = "nobody"
supports = "nothing"
expect = [
  { direction = "worse", label = "accuracy", families = ["prune"] },
  { direction = "worse", label = "calibration", families = ["prune"] },
]
[[claims]]
row = "overfitting"
claim = "It is worse."
source = "nobody"
supports = "nothing"
expect = [{ direction = "worse", label = "under noise", families = ["prune"] }]
"""


def test_the_whole_study_asks_more_and_more_carefully(small):
    text = small.replace("[controls]", "references = 2\nfull_references = 4\n[controls]") + MORE
    quick, whole = (spec.parse(text, "small", tier=tier) for tier in ("quick", "full"))
    assert [m.label for m in quick.measurements] == ["accuracy", "under noise"]
    assert [m.label for m in whole.measurements] == ["accuracy", "under noise", "calibration"]
    assert quick.measurements[1].settings == {"kind": "noise", "severity": 1}
    assert whole.measurements[1].settings == {"kind": "noise", "severity": 0}
    assert (quick.tasks["clean"].references, whole.tasks["clean"].references) == (2, 4)
    assert spec.parse(text.replace("full_references = 4\n", ""), "s", tier="full").tasks["clean"].references == 2


def test_a_claim_that_rests_on_a_full_measurement_is_not_judged_without_it(small):
    quick, whole = (spec.parse(small + MORE, "small", tier=tier) for tier in ("quick", "full"))
    assert [len(c.expect) for c in whole.claims] == [2, 1]
    assert [len(c.expect) for c in quick.claims] == [0, 1]


@pytest.mark.parametrize("tier", ["quick", "full"])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("generalization.ece", "generalization.eec", "did you mean generalization.ece"),
        ("full_settings = { severity = 0 }", "full_settings = { severity = 9 }", r"measurements\[1\].*severity=9"),
        ("full_settings = { severity = 0 }", "full_settings = { severty = 0 }", "did you mean severity"),
        ('tier = "full"', 'tier = "full"\nprimary = true', r"measurements\[2\]: tier full and primary"),
        ('tier = "full"', "tier = 1", r"measurements\[2\].tier: got 1"),
        ("[controls]", "full_references = 3\n[controls]", r"tasks.clean.full_references=3; an even number"),
    ],
)
def test_what_tiers_ask_is_checked_always(small, old, new, message, tier):
    assert old in small + MORE
    with pytest.raises(StudyError, match=message):
        spec.parse((small + MORE).replace(old, new, 1), "small", tier=tier)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('twin = ""', 'twin = ""\nremeasured = ""', r"controls.remeasured: now retest \(since whatelse 0.2\)"),
        (  # noqa: E501
            'level = "strong"',  # noqa: E501
            'level = "strong"\nscratch = true',  # noqa: E501
            r"candidates.0.scratch: now own_controls = \[.scratch.\]",  # noqa: E501
        ),
        (
            'level = "strong"',
            'level = "strong"\nagain = true',
            r"candidates.0.again: now own_controls = \[.recompressed",
        ),
        ("primary = true", "primary = true\ncareful = {}", r"measurements.0.careful: now full_settings"),
        (
            'title = "Digits"',
            'title = "Digits"\ncareful_references = 4',
            r"tasks.clean.careful_references: now full_refer",
        ),
    ],
)
def test_what_had_another_name_is_refused_with_the_new_one(small, old, new, message):
    with pytest.raises(StudyError, match=message):
        spec.parse(small.replace(old, new, 1), "small")


def test_own_controls_are_those_that_serve_a_candidate_alone(small):
    text = small.replace('level = "strong"', 'level = "strong"\nown_controls = ["twin"]')
    with pytest.raises(StudyError, match=r"candidates\[0\].own_controls: no 'twin'; .*recompressed"):
        spec.parse(text, "small")
