"""Rules that word a question otherwise and leave what it asks: whatever a rule does not find stays letter by letter.

Source:
    Ribeiro, Singh & Guestrin, Semantically equivalent adversarial rules for debugging NLP models, ACL 2018,
    doi:10.18653/v1/P18-1079 (rules for questions: contractions, a word before, marks); Ribeiro et al., Beyond accuracy:
    behavioral testing of NLP models with CheckList, ACL 2020, arXiv:2005.04118 (contractions, expansions, punctuation).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_SHORT = {
    **{f"{verb} not": f"{verb}n't" for verb in ("are", "is", "was", "were", "do", "does", "did", "has", "have", "had")},
    **{f"{verb} not": f"{verb}n't" for verb in ("could", "should", "would", "must")},
    **{f"{one} are": f"{one}'re" for one in ("we", "you", "they")},
    **{f"{one} is": f"{one}'s" for one in ("it", "that", "there", "what", "who", "where", "how")},
    **{f"{one} will": f"{one}'ll" for one in ("I", "you", "he", "she", "it", "we", "they")},
    "cannot": "can't",
    "will not": "won't",
    "I am": "I'm",
}
# American and British words that mean the same, whatever stands around them.
_SPELLINGS = (
    ("analyze", "analyse"), ("apologize", "apologise"), ("behavior", "behaviour"), ("center", "centre"),
    ("color", "colour"), ("colored", "coloured"), ("colors", "colours"), ("defense", "defence"), ("favor", "favour"),
    ("favorite", "favourite"), ("fiber", "fibre"), ("flavor", "flavour"), ("gray", "grey"), ("harbor", "harbour"),
    ("honor", "honour"), ("humor", "humour"), ("jewelry", "jewellery"), ("labor", "labour"), ("liter", "litre"),
    ("liters", "litres"), ("meters", "metres"), ("mold", "mould"), ("neighbor", "neighbour"),
    ("neighbors", "neighbours"), ("odor", "odour"), ("offense", "offence"), ("organize", "organise"),
    ("organized", "organised"), ("plow", "plough"), ("pajamas", "pyjamas"), ("realize", "realise"),
    ("realized", "realised"), ("recognize", "recognise"), ("rumor", "rumour"), ("theater", "theatre"),
    ("traveled", "travelled"), ("traveler", "traveller"), ("traveling", "travelling"), ("vapor", "vapour"),
)  # fmt: skip
# What is, or was, is not known; *isn't it* and a sentence that begins with *isn't* need another order of words.
_LONG = {short: long for long, short in _SHORT.items() if not short.endswith("'s")}
_INSIDE = r"(?<!^)(?<![.?!] )"
_NO_SUBJECT = r"(?! (?:I|you|he|she|it|we|they|this|that|these|those|there)\b)"
_WORD = r"(?= \w)"  # "what it is" ends so
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_COUNTED = re.compile(r"(?<![\w.,:/+*=^$€£%-])(?<![-+*/=<>^] )(\d|1[0-2])(?= [a-z]{3})")  # of things, not in a formula
_ASKS = re.compile(r"(what|who|where|when|why|how|which|do|does|did|is|are|can|could|will|would)\b", re.IGNORECASE)
_END = re.compile(r"(?<=\w)[.?!]\s*$")

Rule = Callable[[str], str]


def _swapped(pairs: Mapping[str, str], before: str = "", after: str = "") -> Rule:
    """Return the rule that puts one of each pair in the place of the other, between patterns, in capitals as there."""
    known = {one.casefold(): other for one, other in pairs.items()}
    ordered = sorted(known, key=len, reverse=True)
    found = re.compile(rf"{before}(?<![\w'])(?:{'|'.join(map(re.escape, ordered))})(?![\w']){after}", re.IGNORECASE)

    def put(match: re.Match[str]) -> str:
        was, new = match[0], known[match[0].casefold()]
        return new[0].upper() + new[1:] if was[0].isupper() else new

    return lambda text: found.sub(put, text)


def _led(text: str) -> str:
    """Return a question with a word before it."""
    return f"So {text[0].lower()}{text[1:]}" if _ASKS.match(text) else text


RULES: Mapping[str, Rule] = {
    "contracted": _swapped(_SHORT, after=_WORD),
    "written out": _swapped(_LONG, before=_INSIDE, after=_NO_SUBJECT),
    "spelled otherwise": _swapped({a: b for pair in _SPELLINGS for a, b in (pair, pair[::-1])}),
    "numbers in words": lambda text: _COUNTED.sub(lambda found: _NUMBERS[int(found[1])], text),
    "a word before": _led,
    "no mark at the end": lambda text: _END.sub("", text),
}
