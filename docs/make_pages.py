"""Write a page per behaviour, and an index of them, from the docstrings and settings of the items.

    python docs/make_pages.py

A contract test holds that the committed pages are what this makes: run it (`make docs`) after changing an item.
"""

from __future__ import annotations

import re
from dataclasses import Field, fields
from importlib import import_module
from pathlib import Path

from whatelse import registry

FOLDER = Path(__file__).parent / "behaviours"
_SOURCE = "../../src/whatelse/behaviours"
_CAPABILITIES = ("predicts", "differentiates", "opens", "reads", "writes")
_WORDS = {
    "groups": "named groups",
    "masks": "masks of where the evidence lies",
    "references": "shadow models of the same recipe",
    "label noise": "recorded labels that are wrong",
    "choices": "items with choices",
    "parts": "heads and feed-forward blocks that are told apart",
    "pairs": "pairs of sentences",
}
_REFERENCE = re.compile(r"(?<!`)`([a-z_.0-9]+)`(?!`)")
_PAPER = re.compile(r"(arXiv|doi):([\w./()-]*\w)")
_PLACE = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}


def pages() -> dict[str, str]:
    """Return the text of every page by its file name, the index ``README.md`` among them."""
    names = registry.names("behaviours")
    return {"README.md": index(names), **{f"{name}.md": page(name) for name in names}}


def page(name: str) -> str:
    """Return the page of one behaviour.

    Args:
        name: Its dotted name, such as ``fairness.gap``.
    """
    card = registry.card("behaviours", name)
    parts = [
        f"# {name}",
        _text(name, card.summary),
        _facts(card),
        _section("Definition", _text(name, card.definition)),
        _section("How to read it", _text(name, card.reading)),
        _section("Cost", _text(name, card.cost)),
        _section("Known limits", _text(name, card.limits)),
        _section("Settings", _settings(name)),
        _section("Source", _PAPER.sub(_paper, _text(name, card.source))),
        f"Code: [{name.replace('.', '/')}.py]({_SOURCE}/{name.replace('.', '/')}.py). "
        "This page is made from it by `make docs`. [All behaviours](README.md).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def index(names: tuple[str, ...]) -> str:
    """Return the table of all behaviours by family.

    Args:
        names: Dotted names, sorted.
    """
    head = (
        "# Behaviours\n\n"
        "A behaviour is a question about a model, answered with one value per example, so that every answer comes "
        "with the interval of its paired change. One page each: definition, unit and direction, how to read the "
        "number, what it costs, its limits, its settings and its source.\n\n"
        f"{len(names)} behaviours. These pages are made from the code by `make docs`."
    )
    families = dict.fromkeys(name.split(".")[0] for name in names)
    return "\n\n".join([head, *(_family(f, [n for n in names if n.split(".")[0] == f]) for f in families)]) + "\n"


def _family(family: str, names: list[str]) -> str:
    about = (import_module(f"whatelse.behaviours.{family}").__doc__ or "").strip()
    rows = ["| behaviour | what comes back | unit | better | one value per | parts | needs |", "|" + " --- |" * 7]
    for name in names:
        card = registry.card("behaviours", name)
        told = [card.constants[word] for word in ("UNIT", "BETTER", "UNIT_OF_ANALYSIS")]
        cells = [f"[{name.split('.', 1)[1]}]({name}.md)", _text(name, card.summary), *told]
        rows.append(_row(*cells, card.constants.get("PARTS", ""), _needs(card.needs)))
    return f"## {family}\n\n{about}\n\n" + "\n".join(rows)


# Where settings or data decide them, these are those of the default settings.
_ENDS = (("nothing is left to lose at", "WORST"), ("sees nothing of a model at", "BLIND"))


def _facts(card: registry.Card) -> str:
    told = card.constants
    rows = [
        ("unit", told["UNIT"]),
        ("better", told["BETTER"]),
        ("one value per", told["UNIT_OF_ANALYSIS"]),
        *([("also told for every", told["PARTS"])] if told.get("PARTS") else []),
        ("needs", _needs(card.needs)),
        *((word, told[name]) for word, name in _ENDS if told[name] is not None),
        ("version", told["VERSION"]),
    ]
    return "\n".join(["| | |", "| --- | --- |", *(_row(*row) for row in rows)])


def _needs(needs: tuple[str, ...]) -> str:
    able = [word for word in _CAPABILITIES if word in needs]
    model = [f"a model that {' and '.join(', '.join(able).rsplit(', ', 1))}"] if able else []
    return "; ".join([*model, *(_WORDS.get(word, word) for word in needs if word not in _CAPABILITIES)])


def _settings(name: str) -> str:
    settings = fields(registry.load("behaviours", name).Config)
    if not settings:
        return "It has none."
    rows = [_row(f"`{f.name}`", _default(f), _range(f), f.metadata["help"]) for f in settings]
    return "\n".join(["| setting | default | allowed | what it does |", "|" + " --- |" * 4, *rows])


def _default(setting: Field[object]) -> str:
    return "chosen from the data" if setting.default is None else f"`{setting.default!r}`"


def _range(setting: Field[object]) -> str:
    low, high, choices = (setting.metadata[word] for word in ("low", "high", "choices"))
    if choices is not None:
        return ", ".join(f"`{choice}`" for choice in choices)
    if setting.metadata["kind"] is bool:
        return "`True`, `False`"
    if low is None and high is None:
        return f"any {_KINDS.get(setting.metadata['kind'], 'value')}"
    if low is None or high is None:
        return f"at least {low:g}" if high is None else f"at most {high:g}"
    return f"{low:,g} to {high:,g}"


_KINDS: dict[type, str] = {str: "text", int: "whole number", float: "number"}


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _text(name: str, text: str) -> str:
    """Return a docstring's words as Markdown: code in single quotes, names of behaviours as links to their pages."""
    known, family = registry.names("behaviours"), name.split(".")[0]

    def link(found: re.Match[str]) -> str:
        word = found[1]
        for full in (word, f"{family}.{word}"):
            if full in known and full != name:
                return f"[{full}]({full}.md)"
        return found[0]

    return _REFERENCE.sub(link, text).replace("``", "`")


def _paper(found: re.Match[str]) -> str:
    return f"[{found[0]}]({_PLACE[found[1]]}{found[2]})"


def main() -> None:
    """Write all pages, and remove those whose behaviour is gone."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for old in FOLDER.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for file, text in made.items():
        (FOLDER / file).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
