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
