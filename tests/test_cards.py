import pytest

from whatelse import cards
from whatelse.errors import ItemError

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
NEEDS: set[str] = {"predicts", "groups"}
HALF = VERSION / 2
first = second = 3


class Config:
    group: str = param("", "Which.")
    least: int = param(30, "How many.")
'''


def test_a_card_holds_the_sections_of_the_docstring():
    card = cards.read(ITEM, "own.item", "own.py", "own.py")
    assert (card.name, card.origin) == ("own.item", "own.py")
    assert card.summary == "One sentence, on two lines."
    assert card.definition == "A definition of ``x``,\n\nin two paragraphs. Reading: is a word here."
    assert card.reading == "Compare it. It moves."
    assert (card.cost, card.limits, card.source) == ("One pass.", "It is a proxy.", "Somebody, 2020.")
    assert card.settings == ("group", "least")
    assert card.needs == ("groups", "predicts")
    assert card.constants == {"VERSION": 1, "UNIT": "share", "PARTS": "group"}, "what is computed is left out"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("VERSION = = 1", r"own.py, line 1: invalid syntax; the file of an item is Python"),
        ("x = '\0'", "own.py: .*null bytes; the file of an item is Python"),
        ("NEEDS = BASE | {'groups'}", r"own.py: NEEDS is BASE \| \{'groups'\}; .* write it out as plain values"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(text, message):
    with pytest.raises(ItemError, match=message) as error:
        cards.read(text, "own.item", "own.py")
    assert "\n" not in str(error.value)
