"""The page of every behaviour says what its code says, and says all of it."""

import importlib.util
from pathlib import Path

import pytest

from whatelse import registry

DOCS = Path(__file__).parents[2] / "docs"
BEHAVIOURS = registry.names("behaviours")
spec = importlib.util.spec_from_file_location("make_pages", DOCS / "make_pages.py")
make_pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_pages)


@pytest.mark.parametrize("section", ["summary", "definition", "reading", "cost", "limits", "source"])
@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_docstring_has_every_section(name, section):
    assert getattr(registry.card("behaviours", name), section), f"{name}: its docstring has no {section}"


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_the_sections_come_in_order(name):
    text = registry.load("behaviours", name).__doc__
    places = [text.index(f"\n{word}:\n    ") for word in ("Reading", "Cost", "Limits", "Source")]
    assert places == sorted(places)


@pytest.mark.parametrize("file", ["README.md", *(f"{name}.md" for name in BEHAVIOURS)])
def test_the_page_is_what_the_code_makes_now(file):
    kept = DOCS / "behaviours" / file
    made = make_pages.index(BEHAVIOURS) if file == "README.md" else make_pages.page(file.removesuffix(".md"))
    assert kept.exists(), f"no page {file}: run `make docs`"
    assert kept.read_text("utf-8") == made, f"{file} is out of step with the code: run `make docs`"


def test_no_page_is_left_of_a_behaviour_that_is_gone():
    kept = {p.name for p in (DOCS / "behaviours").glob("*.md")}
    assert kept == set(make_pages.pages()), "run `make docs`"


def test_links_lead_to_pages():
    for text in make_pages.pages().values():
        for name in make_pages.re.findall(r"\]\(([a-z_.0-9]+\.md)\)", text):
            assert name == "README.md" or name.removesuffix(".md") in BEHAVIOURS
