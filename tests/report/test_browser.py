"""The page in a real browser: no errors, no requests, keyboard alone, phone, dark, print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from whatelse.findings.record import parse
from whatelse.report.page import render

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, rendered: str) -> str:
    path = tmp_path_factory.mktemp("page") / "table.html"
    path.write_text(rendered, encoding="utf-8")
    return path.as_uri()


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
    assert box["y"] < 560  # below what was claimed and found, and an alarm
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
    assert page.locator("details:not([open])").count() == 10 + 2 + 1 + 9 + 7 + 1, "what failed is open"
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


def _audit(document: dict[str, Any], candidates: int) -> str:
    """The page of an audit: as the study's, of so many models, without claims, families and retraining."""
    models = [c for c in document["candidates"] if c["role"] == "candidate"][:candidates]
    more = {c["name"]: f"{c['name']} again" for c in models[: candidates - len(models)]}
    models += [c | {"name": more[c["name"]]} for c in models if c["name"] in more]
    document["findings"] += [
        f | {"id": f"{f['id']} again", "candidate": more[f["candidate"]]}
        for f in document["findings"]
        if f["candidate"] in more
    ]
    names = {c["name"] for c in models}
    document["candidates"] = [c for c in document["candidates"] if c["role"] == "baseline"] + [
        c | {"family": "", "kind": "", "level": "", "knob": None, "knob_name": ""} for c in models
    ]
    document["findings"] = [f for f in document["findings"] if f["candidate"] in names and f.get("leading", True)]
    for finding in document["findings"]:
        finding["control"] = "baseline"
    for row in document["rows"]:
        row |= {"survey": "", "cited": ""}
    document |= {"claims": [], "potential": [], "failed": []}
    same = {"name": "class order", "outcome": "same", "baseline": "as in the data", "candidate": "as in the data"}
    document["comparability"] = {"pairs": dict.fromkeys(names, [same] * 8), "splits": [], "remarks": []}
    return render(parse(document))


@pytest.fixture(params=[1, 3, 16], ids=lambda n: f"{n} candidates")
def audit(request: pytest.FixtureRequest, context: BrowserContext, document: dict[str, Any], tmp_path: Path) -> Page:
    path = tmp_path / "audit.html"
    path.write_text(_audit(document, request.param), encoding="utf-8")
    page = context.new_page()
    page.set_viewport_size({"width": 1300, "height": 900})
    page.goto(path.as_uri())
    return page


CUT = """[...document.querySelectorAll('.scroll, table, td, th, .four, .four > div')]
  .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0
    || one.getBoundingClientRect().right > window.innerWidth + 1)
  .map((one) => one.outerHTML.slice(0, 200))"""
HEIGHT = "document.documentElement.scrollHeight"
UNFOLD = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"


def test_an_audit_answers_in_order_and_begins_on_the_first_screen(audit: Page) -> None:
    heads = audit.locator(".four").first.locator("h3")
    assert heads.all_inner_texts() == [
        "May I ship it?",
        "What got worse, for whom, by how much",
        "What is open, and what would settle it",
        "What to do next",
    ]
    places = [heads.nth(at).bounding_box() for at in range(4)]
    several = audit.locator(".four h4").count() > 0
    for at, place in enumerate(places[: 3 if several else 4]):
        assert place is not None
        assert place["y"] < 900, at
    table = audit.get_by_role("grid").first.bounding_box()
    assert table is not None
    assert places[3] is not None
    assert table["y"] > places[3]["y"]


@pytest.mark.parametrize("width", [1300, 390])
def test_an_audit_is_short_and_no_column_is_cut(audit: Page, width: int) -> None:
    audit.set_viewport_size({"width": width, "height": 900})
    assert width < 1300 or audit.evaluate(HEIGHT) <= 6000
    assert audit.evaluate("document.documentElement.scrollWidth") <= width
    audit.evaluate(UNFOLD)
    assert audit.evaluate(CUT) == []
    assert audit.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1300, 390])
def test_no_column_of_a_study_is_cut(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(UNFOLD)
    assert page.evaluate(CUT) == []


def test_a_link_into_the_page_unfolds_what_it_points_at(page: Page) -> None:
    row = page.locator("#row-fairness details.fold")
    assert row.get_attribute("open") is None
    page.locator('a[href="#row-fairness"]').click()
    page.wait_for_function("document.querySelector('#row-fairness details.fold').open")
    assert row.locator(".measured").is_visible()
