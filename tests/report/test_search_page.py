"""The page of a search as text: everything of the record stands there, escaped, and loads nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import get_args

import numpy as np
import pytest

from tests.report.searches import make
from whatelse import testing
from whatelse.findings import search_words
from whatelse.findings.search_words import Ending
from whatelse.findings.searched import Searched
from whatelse.report import _fronts as fronts
from whatelse.report import search_page

ENDINGS = get_args(Ending)
EVIL = """<script>alert('1')</script> & "quoted" </style>"""
CIRCLE = re.compile(r'class="hit" cx="([\d.]+)" cy="([\d.-]+)"')


class Reader(HTMLParser):
    """Collects the words, the open tags that never close, and every id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.referred: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        for name in ("aria-describedby", "aria-labelledby"):
            self.referred += (given.get(name) or "").split()
        if tag not in {"meta", "link", "br", "line", "circle", "rect", "polyline", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_first_answers_come_first(ending: Ending) -> None:
    made = make(ending)
    text = Reader(search_page.render(made)).text
    places = [text.index(search_words.headline(made))]
    places += [text.index(told) for _, told in search_words.answers(made)]
    places += [text.index(remark) for remark in made.remarks]
    places.append(text.index("Size against each budget"))
    assert places == sorted(places)
    assert ("The confirmation, in order" in text) == bool(made.finalists)


@pytest.mark.parametrize("made", [*map(make, ENDINGS), make(trials=1, constraints=1), make(trials=80, constraints=33)])
def test_it_is_well_formed_and_everything_that_is_named_is_there(made: Searched) -> None:
    found = Reader(search_page.render(made))
    assert found.open == []
    assert len(set(found.ids)) == len(found.ids)
    assert set(found.referred) <= set(found.ids)


def test_everything_of_the_record_stands_on_the_page() -> None:
    made = make()
    text = Reader(search_page.render(made)).text
    for trial in made.trials:
        assert " ".join(trial.recipe.split()) in text
        assert trial.why in text
    for one in made.constraints:
        assert one.name in text
    for held in made.finalists:
        assert all(why in text for why in held.because)
    for told in (made.data, made.strategy, made.space, made.budgets, "small", "28,000", "6 min 43 s", "Confirming"):
        assert told in text
    assert "below the noise floor" in text, "calibration error is"


def test_texts_are_escaped_wherever_they_come_from() -> None:
    made = make(trials=4, constraints=2)
    names = {one.name: f"{one.name} {EVIL}" for one in made.constraints}
    made = replace(
        made,
        model=EVIL, data=EVIL, strategy=EVIL, budgets=EVIL, space=EVIL, folder=EVIL, minimize=EVIL, remarks=(EVIL,),
        seconds={EVIL: 1.0}, splits={EVIL: 1}, unit=EVIL, created=EVIL, whatelse=EVIL,
        constraints=tuple(replace(one, name=names[one.name], unit=EVIL) for one in made.constraints),
        trials=tuple(
            replace(
                trial, recipe=EVIL + trial.recipe, why=EVIL, binding=names.get(trial.binding, ""),
                harm={names[name]: value for name, value in trial.harm.items()},
            )
            for trial in made.trials
        ),
        finalists=tuple(replace(one, because=(EVIL,), harm={}, upper={}) for one in made.finalists),
    )  # fmt: skip
    page = search_page.render(made)
    assert "<script>alert" not in page
    assert page.count("</style>") == 1
    assert page.count("<script>") == 1
    assert Reader(page).open == []


def test_it_loads_nothing_and_repeats() -> None:
    page = search_page.render(make())
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", page)
    assert "http" not in page.replace("http-equiv", "")
    assert page == search_page.render(make())


def _figure(made: Searched, at: int = 0) -> str:
    columns = {trial.number: trial.number for trial in made.trials}
    return fronts.draw(made, made.constraints[at], columns, "f")


@pytest.mark.known_answer
def test_points_stand_where_their_numbers_say() -> None:
    """Sizes by their logarithm, harms to scale above the knee: checked from the places of the points alone."""
    made = testing.searched()
    shares = np.array([0.25, 0.125, 0.1, 0.0625])
    figure = _figure(made)
    points = {
        int(n): place for n, place in re.findall(r'data-column="(\d)".*?class="hit" (cx="[^"]*" cy="[^"]*")', figure)
    }
    assert set(points) == {1, 2, 3, 4}, "one failed, and has no place"
    x, y = np.array([[float(v) for v in re.findall(r'"([^"]*)"', points[n])] for n in (1, 2, 3, 4)]).T
    slope = (x[0] - x[3]) / np.log(shares[0] / shares[3])
    np.testing.assert_allclose(x - x[0], slope * np.log(shares / shares[0]), atol=0.11)
    harms = np.array([0.002, 0.006, 0.009])
    np.testing.assert_allclose(y[:3] - y[0], (y[2] - y[0]) * (harms - 0.002) / 0.007, atol=0.11)
    (limit,) = re.findall(r'class="budget" x1="[\d.]*" y1="([\d.]+)"', figure)
    assert float(limit) - y[0] == pytest.approx((y[2] - y[0]) * (0.02 - 0.002) / 0.007, abs=0.7)
    assert y[3] > float(limit) > y[2], "down is harm: the fourth is beyond the budget, the others are not"
    assert y[3] < fronts.HEIGHT


@pytest.mark.known_answer
def test_far_beyond_the_budget_equal_factors_are_equal_distances() -> None:
    made = testing.searched("nothing")
    far = zip(made.trials[:3], (0.1, 0.2, 0.4), strict=True)
    figure = _figure(replace(made, trials=tuple(replace(trial, harm={"accuracy": harm}) for trial, harm in far)))
    low, middle, high = sorted(float(y) for _, y in CIRCLE.findall(figure))
    assert middle - low == pytest.approx(high - middle, abs=0.11)
    assert middle - low > 5
    assert 'class="margin"' in figure, "where it begins is drawn"


def test_select_and_test_are_told_apart_and_the_choice_is_named() -> None:
    figure = _figure(testing.searched())
    assert figure.count('class="tested go"') == 2
    assert figure.count('class="tested open"') == 1
    assert figure.count("chosen") == 1
    assert re.search(r'class="trial inside finalist chosen".*?>2</text>', figure)
    assert (
        "Trial 2, 12 %: harm +0.60 pp of 2.0 pp; on test harm +0.70 pp, at most +1.6 pp, GO; binds: accuracy by"
        in figure
    )
    refused = _figure(testing.searched("refused"))
    assert refused.count('class="tested no"') == 1, "what was not opened has no mark of test"
    assert "tested" not in _figure(testing.searched("nothing"))


@pytest.mark.parametrize("most", [0.0, -0.01, 1e-9, 5.0])
def test_budgets_of_any_size_can_be_drawn(most: float) -> None:
    made = testing.searched()
    made = replace(made, constraints=tuple(replace(one, most=most) for one in made.constraints))
    figure = _figure(made)
    places = [float(y) for _, y in CIRCLE.findall(figure)]
    assert len(places) == 4
    assert all(0 <= y <= fronts.HEIGHT for y in places)
    assert "nan" not in figure


def test_nothing_measured_and_sizes_of_nothing_are_drawn_too() -> None:
    made = testing.searched("nothing")
    bare = replace(made, trials=tuple(replace(one, harm={}, over={}) for one in made.trials))
    assert CIRCLE.findall(_figure(bare)) == []
    nothing = replace(made, trials=tuple(replace(one, value=0.0, share=0.0) for one in made.trials[:2]))
    assert len(CIRCLE.findall(_figure(nothing))) == 2
    assert search_page.render(bare)
    assert search_page.render(replace(made, trials=(), constraints=(), nearest=0))


def test_what_all_recipes_begin_with_is_left_out_of_the_cells() -> None:
    page = search_page.render(make(trials=5))
    briefs = re.findall(r"<summary><code>(.*?)</code></summary>", page)
    assert len(briefs) == 5
    assert all(brief.startswith("…prune.magnitude(") for brief in briefs)


def test_many_budgets_and_many_trials_are_folded() -> None:
    page = search_page.render(make(trials=61, constraints=33))
    assert "17 more budgets" in page
    assert "<summary>61 trials, in the order of asking</summary>" in page
    assert '<details class="fold" open>' not in page
    assert page.count('class="numbers harms"') == 3
    assert '<details class="fold" open>' in search_page.render(make(trials=60))
