"""The page in a real browser: no errors, no requests, keyboard alone, phone, dark, print."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

pytestmark = pytest.mark.browser
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def _chromium() -> str:
    named = os.environ.get("WHATELSE_CHROMIUM")
    places = [named] if named else [shutil.which("chromium"), "/usr/bin/chromium"]
    found = next((place for place in places if place and Path(place).exists()), None)
    if found is None:
        pytest.skip("no Chromium: install Debian's chromium, or name one in WHATELSE_CHROMIUM")
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    place = _chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, rendered: str) -> str:
    path = tmp_path_factory.mktemp("page") / "table.html"
    path.write_text(rendered, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light", reduced_motion="reduce"
    )
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
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
    page.locator("button.verdict").first.hover()
    page.emulate_media(media="print")
    assert told == []
    assert [url for url in asked if not url.startswith("data:")] == [address]


def test_the_table_is_on_the_first_screen(page: Page) -> None:
    table = page.get_by_role("grid")
    assert table.get_by_role("row").count() == 2 + 10
    assert table.get_by_role("gridcell").count() == 9 * 10 + 1
    box = table.bounding_box()
    assert box is not None
    assert box["y"] < 500
    assert box["x"] + box["width"] <= 1280


def test_details_open_by_keyboard_alone_and_close_by_escape(page: Page) -> None:
    page.keyboard.press("Tab")
    while page.evaluate("!document.activeElement.matches('button.verdict')"):
        assert page.evaluate("document.activeElement !== document.body")
        page.keyboard.press("Tab")
    (first,) = _shown(page)
    assert "Overfitting · prune 50 %" in first
    assert "95 % interval" in first
    page.keyboard.press("ArrowRight")
    (second,) = _shown(page)
    assert "Overfitting · prune 80 %" in second
    page.keyboard.press("ArrowDown")
    assert "Attribution · prune 80 %" in _shown(page)[0]
    page.keyboard.press("End")
    assert "Attribution · svd 25 %" in _shown(page)[0]
    page.keyboard.press("Escape")
    assert _shown(page) == []
    assert page.evaluate("document.activeElement.matches('button.verdict')")
    page.keyboard.press("Enter")
    assert "Attribution · svd 25 %" in _shown(page)[0]
    page.keyboard.press("Tab")
    assert _shown(page) == []
    assert not page.evaluate("document.activeElement.matches('button.verdict')")


def test_every_cell_can_be_reached_by_arrows(page: Page) -> None:
    page.locator("button.verdict").first.focus()
    reached = {page.evaluate("document.activeElement.getAttribute('aria-describedby')")}
    for line in range(9):
        for _ in range(9):
            page.keyboard.press("ArrowRight" if line % 2 == 0 else "ArrowLeft")
            reached.add(page.evaluate("document.activeElement.getAttribute('aria-describedby')"))
        page.keyboard.press("ArrowDown")
        reached.add(page.evaluate("document.activeElement.getAttribute('aria-describedby')"))
    assert len(reached) == page.locator("button.verdict").count()


def test_details_show_while_pointed_at_and_can_be_pointed_at_themselves(page: Page) -> None:
    page.locator("button.verdict").nth(4).hover()
    page.wait_for_selector(".tip:popover-open")
    page.locator(".tip:popover-open").hover()
    page.wait_for_timeout(400)
    assert len(_shown(page)) == 1
    page.mouse.move(2, 2)
    page.wait_for_selector(".tip:popover-open", state="detached")


def test_a_click_keeps_details_and_a_second_one_closes_them(page: Page) -> None:
    cell = page.locator("button.verdict").nth(4)
    cell.click()
    page.mouse.move(2, 2)
    page.wait_for_timeout(400)
    assert len(_shown(page)) == 1
    cell.click()
    assert _shown(page) == []


def test_details_lie_inside_the_window(page: Page) -> None:
    for at in (0, 9, 40, 89):
        page.locator("button.verdict").nth(at).focus()
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        box = page.locator(".tip:popover-open").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= 1280
        assert box["y"] + box["height"] <= 900


@pytest.mark.parametrize("width", [320, 375, 701, 1024])
def test_nothing_overflows_however_narrow(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_phone_names_the_model_beside_each_verdict(page: Page) -> None:
    assert not page.locator(".who").first.is_visible()
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.locator(".who").first.is_visible()
    assert page.get_by_role("gridcell").count() == 9 * 10 + 1
    page.locator("button.verdict").first.click()
    assert len(_shown(page)) == 1


def _light(page: Page) -> tuple[int, int]:
    """Brightness of the background and of the text, 0 to 765."""
    colors = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    paper, ink = (sum(int(part) for part in color[4:-1].split(",")) for color in colors)
    return paper, ink


def test_dark_mode_turns_page_and_figures_over(page: Page) -> None:
    figure = "getComputedStyle(document.querySelector('svg.figure text')).fill"
    before = page.evaluate(figure)
    paper, ink = _light(page)
    assert paper > 700 > 200 > ink
    page.emulate_media(color_scheme="dark")
    paper, ink = _light(page)
    assert ink > 600 > 150 > paper
    assert page.evaluate(figure) != before


def test_print_is_light_and_opens_everything(page: Page, tmp_path: Path) -> None:
    page.emulate_media(color_scheme="dark", media="print")
    paper, ink = _light(page)
    assert paper > 700 > 200 > ink
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == 9 + 7
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    assert (tmp_path / "page.pdf").stat().st_size > 50_000


def test_words_stand_out_from_their_background(page: Page) -> None:
    """WCAG AA for every kind of cell and chip, in both schemes: a contrast of at least 4.5."""
    script = """() => {
      const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      const rgb = (color, under) => {
        canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
      };
      const light = (color) => color.map((v) => v / 255)
        .map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
      const paper = getComputedStyle(document.body).backgroundColor;
      return [...document.querySelectorAll('.verdict, .chip, .outcome, .quiet, .not-yet, a, dt')].map((one) => {
        const style = getComputedStyle(one);
        const under = one.closest('.alarm') ? getComputedStyle(one.closest('.alarm')).backgroundColor : paper;
        const [a, b] = [light(rgb(style.color, under)), light(rgb(style.backgroundColor, under))];
        const who = one.className + ' ' + one.textContent.trim().slice(0, 40);
        return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), who];
      }).filter(([contrast]) => contrast < 4.5);
    }"""
    assert page.evaluate(script) == []
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(script) == []
