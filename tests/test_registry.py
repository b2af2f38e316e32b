import pytest

from whatelse import registry
from whatelse.errors import UnknownItemError


def test_the_path_is_the_name():
    assert "prune.magnitude" in registry.names("methods")
    assert "generalization.accuracy" in registry.names("behaviours")
    assert all("_" not in n.rsplit(".", 1)[1][:1] for k in ("methods", "behaviours") for n in registry.names(k))


def test_a_card_is_read_without_importing():
    card = registry.card("methods", "prune.magnitude")
    assert card.summary.startswith("Zero the weights of smallest absolute value")
    assert "1506.02626" in card.source
    assert card.settings[:2] == ("sparsity", "scope")
    assert card.constants == {
        "VERSION": 1,
        "KNOB": "sparsity",
        "TAKES": ("dense", "sparse"),
        "LEAVES": "sparse",
    }


ITEM = '''"""One sentence,
on two lines.

A definition of ``x``,

in two paragraphs. Reading: is a word here.

Reading:
    Compare it.
    It moves.

Cost:
    One pass.

Limits:
    It is a proxy.

Source:
    Somebody, 2020.
"""

VERSION, UNIT, PARTS = 1, "share", "group"
'''


def test_a_card_holds_the_sections_of_the_docstring(tmp_path, monkeypatch):
    (tmp_path / "behaviours" / "own").mkdir(parents=True)
    (tmp_path / "behaviours" / "own" / "item.py").write_text(ITEM, "utf-8")
    monkeypatch.setattr(registry, "_ROOT", tmp_path)
    monkeypatch.setattr(registry, "names", lambda kind: ("own.item",))
    card = registry.card("behaviours", "own.item")
    assert card.summary == "One sentence, on two lines."
    assert card.definition == "A definition of ``x``,\n\nin two paragraphs. Reading: is a word here."
    assert card.reading == "Compare it. It moves."
    assert (card.cost, card.limits, card.source) == ("One pass.", "It is a proxy.", "Somebody, 2020.")
    assert card.constants["PARTS"] == "group"


def test_a_method_has_a_source_alone():
    card = registry.card("methods", "prune.magnitude")
    assert (card.reading, card.cost, card.limits) == ("", "", "")
    assert "Source" not in card.definition


@pytest.mark.parametrize("kind", ["methods", "behaviours"])
def test_cards_agree_with_the_imported_items(kind):
    for name in registry.names(kind):
        item, card = registry.load(kind, name), registry.card(kind, name)
        assert card.constants["VERSION"] == item.VERSION
        assert card.summary
        assert set(card.needs) == (item.NEEDS if kind == "behaviours" else set())


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownItemError, match=r"no method named 'prune.magnitud'; did you mean prune.magnitude\?"):
        registry.load("methods", "prune.magnitud")
