import pytest

from whatelse.errors import ItemError, UnknownItemError
from whatelse.kinds import KINDS, check_name, kind_of


def test_a_kind_goes_by_its_word_in_the_singular_and_the_plural():
    for kind, room in KINDS.items():
        assert kind_of(kind) == kind_of(room.word) == kind
    with pytest.raises(UnknownItemError, match="'behavior': no such kind of item; did you mean behaviour"):
        kind_of("behavior")


@pytest.mark.parametrize(("kind", "name"), [("behaviours", "fairness.my_gap"), ("nets", "mine"), ("nets", "a.b2")])
def test_names_that_may_be(kind, name):
    check_name(kind, name, ["fairness.gap"], "here")


@pytest.mark.parametrize(
    "name", ["", "My.gap", "fairness.", ".gap", "fairness.my-gap", "../gap", "fairness.2", "a b.c"]
)
def test_names_that_may_not_be(name):
    with pytest.raises(ItemError, match="here: the name .* is not of lower-case words"):
        check_name("behaviours", name, ["fairness.gap"], "here")


def test_behaviours_and_methods_have_a_family():
    with pytest.raises(ItemError, match=r"has no family; one of fairness, leakage, or your own: mine\.gap"):
        check_name("behaviours", "gap", ["leakage.x", "fairness.gap", "fairness.group"], "here")
