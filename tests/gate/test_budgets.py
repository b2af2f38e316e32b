import math
import re
import tomllib
from dataclasses import fields
from importlib import resources
from pathlib import Path

import pytest

from whatelse import registry
from whatelse.auditing.questions import default
from whatelse.errors import BudgetError
from whatelse.gate import budgets as owners

ONE = '[[budgets]]\nbehaviour = "generalization.accuracy"\nmost = 0.01\n'
DOCS = Path(__file__).parents[2] / "docs" / "gate.md"


def test_a_whole_file_is_read():
    text = """title = "ours"
[[budgets]]
behaviour = "fairness.group"
label = "accuracy by sex"
task = "adult"
most = 1
tier = "supporting"
groups = ["women", "men"]
groups_tier = "advisory"
least = 100
gain = 0.05
control = "baseline"
demanded = false
why = "law"
"""
    found = owners.parse(text + ONE)
    assert found.title == "ours"
    assert found.budgets[0] == owners.Budget(
        1.0,
        "supporting",
        "fairness.group",
        "accuracy by sex",
        "adult",
        ["women", "men"],
        "advisory",
        100,
        0.05,
        "baseline",
        False,
        "law",
    )
    plain = found.budgets[1]
    assert (plain.tier, plain.groups_tier, plain.demanded, plain.least, plain.gain) == ("critical", "", True, 0, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[budgets", "b.toml: Expected ']]'"),
        ("", "b.toml.budgets: missing; got only nothing"),
        ("budgets = 3", "b.toml.budgets: got 3; allowed is a list"),
        ("budgets = []", 'b.toml: none of its 0 budgets has tier = "critical"'),
        (ONE + 'tier = "supporting"', 'b.toml: none of its 1 budgets has tier = "critical"'),
        (ONE.replace("most", "mots"), "b.toml.budgets[0]: no key 'mots'; did you mean most?"),
        (ONE.replace("most = 0.01", ""), "b.toml.budgets[0].most: missing; got only behaviour"),
        (ONE.replace("0.01", '"1 %"'), "b.toml.budgets[0].most: got '1 %'; allowed is a number"),
        (ONE.replace("0.01", "true"), "b.toml.budgets[0].most: got True; allowed is a number"),
        (ONE.replace("0.01", "-0.01"), "b.toml: budgets[0].most=-0.01; a number of 0 or more"),
        (ONE.replace("0.01", "nan"), "b.toml: budgets[0].most=nan; a number of 0 or more"),
        (ONE.replace("0.01", "inf"), "b.toml: budgets[0].most=inf; a number of 0 or more"),
        (ONE + "gain = -1", "b.toml: budgets[0].gain=-1.0; a number of 0 or more"),
        (ONE + 'tier = "criticl"', "b.toml: budgets[0].tier='criticl'; did you mean critical? (there are: critical,"),
        (ONE + 'control = "placeboo"', "b.toml: budgets[0].control='placeboo'; did you mean placebo?"),
        (ONE + "least = -1", "b.toml: budgets[0].least=-1; a whole number of 0 or more"),
        (ONE + 'groups = ["*"]\ngroups_tier = "x"', "budgets[0].groups_tier='x'; there are: advisory,"),
        (ONE + 'groups_tier = "advisory"', "budgets[0].groups_tier='advisory', but there are no groups; name them in"),
        (ONE + 'groups = "a"', "b.toml.budgets[0].groups: got 'a'; allowed is a list"),
        (ONE + 'groups = ["a", "a"]', "b.toml: budgets[0].groups=['a', 'a']; names of groups are needed, none twice"),
        (ONE + 'groups = ["*", "a"]', "none twice, or '*' alone"),
        ("[[budgets]]\nmost = 1", "b.toml: budgets[0]: neither behaviour nor label"),
        (ONE + ONE, "b.toml: budgets[1] says the same as budgets[0]; drop one"),
        ("titel = 'x'\n" + ONE, "b.toml: no key 'titel'; did you mean title?"),
        ("title = 3\n" + ONE, "b.toml.title: got 3; allowed is text"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(text, said):
    with pytest.raises(BudgetError) as raised:
        owners.parse(text, "b.toml")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(BudgetError, match=r"none.toml: No such file.*--copy"):
        owners.read(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BudgetError, match="not UTF-8"):
        owners.read(tmp_path / "bytes.toml")


def test_the_defaults_are_sound_and_every_one_has_its_reason():
    found = owners.parse(owners.default(), "default")
    known = registry.names("behaviours")
    for budget in found.budgets:
        assert budget.behaviour in known
        assert len(budget.why) > 20, budget.behaviour
        assert budget.most > 0
    assert [b.behaviour for b in found.budgets if b.demanded] == ["generalization.accuracy"]
    asked = {b.behaviour: (b.tier, b.groups_tier, b.groups, b.least) for b in found.budgets if b.groups}
    assert asked == {
        "generalization.macro_accuracy": ("critical", "supporting", ["*"], 0),
        "fairness.worst_group": ("critical", "", ["*"], 0),
        "fairness.group": ("critical", "", ["*"], 0),
    }
    assert {b.behaviour.partition(".")[0] for b in found.budgets if b.tier != "advisory"} == {
        "generalization", "fairness", "robustness", "membership", "leakage", "attribution", "transparency", "mechanism",
        "language",
    }  # fmt: skip


@pytest.mark.known_answer
def test_the_sizes_that_the_defaults_promise():
    # Non-inferiority at one-sided .05 with power .8, truth 0: discordance (1.645 + .842)^2 / margin^2.
    assert [round(share * 2.4864749**2 / 0.01**2, -1) for share in (0.01, 0.05)] == [620, 3090]
    assert "620 examples" in owners.default()
    assert "3,100 at 5 %" in owners.default()
    assert 0.98**149 < 0.05 < 0.98**148
    assert owners.default().count("149 examples") == 2
    assert round(0.04 * 2.4864749**2 / 0.02**2, -1) == 620
    assert "620 pairs of which 4 % turn over" in owners.default()
    assert round(math.exp(4 * 0.01) - 1, 2) == 0.04
    assert round(1 - math.exp(-4 * 0.05), 1) == 0.2


def test_labels_of_the_default_budgets_are_those_of_the_default_audit():
    language = resources.files("whatelse.auditing").joinpath("language.toml").read_text("utf-8")
    asked = [m for text in (default(), language) for m in tomllib.loads(text)["measurements"]]
    for budget in owners.parse(owners.default()).budgets:
        if budget.label:
            assert (budget.behaviour, budget.label) in {(m["item"], m["label"]) for m in asked}


@pytest.mark.parametrize("study", ["table1", "adult", "fashion_mnist", "security", "language", "shakespeare"])
def test_every_primary_question_of_the_shipped_studies_but_costs_has_a_default(study):
    source = Path(owners.__file__).parents[1]
    file = next(source.glob(f"stud*/{study}.toml"))
    asked = {m["item"] for m in tomllib.loads(file.read_text("utf-8"))["measurements"] if m.get("primary")}
    assert {a for a in asked if not a.startswith("efficiency.")} <= {
        b.behaviour for b in owners.parse(owners.default()).budgets
    }


def test_the_docs_name_every_key_and_their_example_is_read():
    text = DOCS.read_text("utf-8")
    for one in (*fields(owners.Budget), *fields(owners.Budgets)):
        assert f"| `{one.name}` |" in text or one.name == "budgets"
    examples = re.findall(r"```toml[^\n]*\n(.*?)```", text, re.DOTALL)
    assert examples
    for example in examples:
        owners.parse(example)
