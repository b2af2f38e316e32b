"""The page of a search in a real browser: short, uncut, without errors, by keyboard, sorted, lit, dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.report.searches import make
from tests.report.test_browser import CUT, HEIGHT, UNFOLD

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "search.html"
    path.write_text(make().to_html(), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.set_viewport_size({"width": 1300, "height": 900})
    page.goto(address)
    return page


def _shown(page: Page) -> list[str]:
    return page.locator(".tip:popover-open").all_inner_texts()


def test_it_opens_without_errors_and_asks_for_nothing(context: BrowserContext, address: str) -> None:
    page = context.new_page()
    told: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address, wait_until="load")
    page.locator(".front .trial").first.hover()
    assert told == []
    assert [url for url in asked if not url.startswith("data:")] == [address]


def test_the_answers_stand_on_the_first_screen(page: Page) -> None:
    heads = page.locator("#answers h3")
    assert heads.all_inner_texts() == [
        "What was chosen, and how small it is",
        "Is it confirmed?",
        "Which budget binds?",
        "What would the runner-up have cost?",
        "What of a smaller one?",
    ]
    box = heads.last.bounding_box()
    assert box is not None
    assert box["y"] < 700


@pytest.mark.parametrize("ending", ["confirmed", "not confirmed", "refused", "nothing"])
@pytest.mark.parametrize("width", [1300, 400])
def test_it_is_short_and_nothing_is_cut(page: Page, tmp_path: Path, ending: str, width: int) -> None:
    path = tmp_path / "search.html"
    path.write_text(make(ending).to_html(), encoding="utf-8")  # type: ignore[arg-type] # one of the endings
    page.goto(path.as_uri())
    page.set_viewport_size({"width": width, "height": 900})
    assert width < 1300 or page.evaluate(HEIGHT) <= 6000
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(UNFOLD)
    assert page.evaluate(CUT) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_point_can_be_reached_by_keys_and_tells_its_trial(page: Page) -> None:
    page.keyboard.press("Tab")
    while not page.evaluate("document.activeElement.matches('.front .trial')"):
        assert page.evaluate("document.activeElement !== document.body")
        page.keyboard.press("Tab")
    reached = set()
    for _ in range(80):
        (told,) = _shown(page)
        place = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert told.startswith(place.partition(",")[0])
        assert f": {place.partition(': ')[2]}" in told
        assert "Binds" in told
        reached.add(place)
        page.keyboard.press("ArrowRight")
    assert len(reached) == page.locator("svg.front").first.locator(".trial").count() == 58
    (before,) = _shown(page)
    page.keyboard.press("ArrowDown")
    (after,) = _shown(page)
    assert before.splitlines()[0] == after.splitlines()[0], "the same trial"
    assert before != after, "under another budget"
    page.keyboard.press("Escape")
    assert _shown(page) == []
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.matches('.front .trial')"), "all points are one stop"


def test_what_is_pointed_at_is_lit_in_every_figure_and_in_the_table(page: Page) -> None:
    page.locator('tr[data-trial="22"]').hover()
    assert page.locator(".front .trial.lit").count() == page.locator("svg.front").count() == 15
    point = page.locator("svg.front").nth(1).locator(".trial.chosen")
    point.hover()
    page.wait_for_selector(".tip:popover-open")
    assert _shown(page)[0].startswith("Trial 22")
    assert page.locator("tr.lit").count() == 1
    page.locator(".tip:popover-open").hover()
    page.wait_for_timeout(400)
    assert len(_shown(page)) == 1, "a tip can be pointed at itself"
    page.mouse.move(2, 2)
    page.wait_for_selector(".tip:popover-open", state="detached")


def test_the_table_is_sorted_by_any_column_and_what_is_missing_comes_last(page: Page) -> None:
    heads = page.locator(".sortable thead th")
    shares = "[...document.querySelectorAll('.sortable tbody tr')].map((line) => line.cells[1].dataset.sort)"
    for turn, order in (("ascending", False), ("descending", True)):
        heads.nth(1).get_by_role("button").click()
        assert heads.nth(1).get_attribute("aria-sort") == turn
        found = page.evaluate(shares)
        numbers = [float(share) for share in found if share]
        assert numbers == sorted(numbers, reverse=order)
        assert found[len(numbers) :] == ["", ""], "two failed"
    heads.nth(4).get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heads.nth(1).get_attribute("aria-sort") is None
    names = "[...document.querySelectorAll('.sortable tbody tr')].map((line) => line.cells[4].dataset.sort)"
    named = [name for name in page.evaluate(names) if name]
    assert named == sorted(named, key=str.lower)


def test_without_scripts_the_table_and_the_figures_stand(browser: object, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)  # type: ignore[attr-defined] # of playwright
    page = context.new_page()
    page.goto(address)
    assert page.locator(".sortable tbody tr").count() == 60
    assert page.locator(".sortable button").count() == 0
    assert page.locator("svg.front .trial").count() > 800
    assert "binds:" in (page.locator("svg.front .trial title").first.text_content() or "")
    context.close()


def test_dark_mode_turns_page_and_figures_over(page: Page) -> None:
    color = "getComputedStyle(document.querySelector('.front .over circle + circle')).fill"
    before = page.evaluate(color)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(color) != before
