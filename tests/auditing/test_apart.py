import pytest

from whatelse.auditing import apart, claims
from whatelse.auditing.inquiry import Inquiry
from whatelse.auditing.questions import Claim, Row
from whatelse.auditing.verdicts import Decided
from whatelse.errors import StudyError
from whatelse.findings import codec, record
from whatelse.study import spec


def judged(monkeypatch, verdicts):
    found = record.Apart("told", "what", "python it.py", "page.md")
    monkeypatch.setattr(apart, "read", lambda name: apart.Outcome(found, tuple(verdicts)))
    row = Row("search", "Search", apart="one")
    inquiry = Inquiry("n", "t", "", "", 100, (0,), (row,), (), {}, ())
    claim = Claim("search", "It helps.", "someone", "something", [])
    return claims.judge(claim, inquiry, Decided((), frozenset()), [])


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("verdicts", "outcome", "reason"),
    [
        (["improved", "improved"], "supported", "of 2 predictions 2 hold, 0 fail, 0 stay open"),
        (["unchanged", "worsened"], "contradicted", "of 2 predictions 0 hold, 2 fail, 0 stay open"),
        (["improved", "unchanged", "inconclusive"], "level-dependent", "of 3 predictions 1 hold, 1 fail, 1 stay open"),
        (["inconclusive"] * 3 + ["improved"], "indistinguishable", "of 4 predictions 1 hold, 0 fail, 3 stay open"),
        (["not trusted", "improved"], "supported", "of 2 predictions 1 hold, 0 fail, 1 stay open"),
    ],
)
def test_a_claim_of_a_row_that_is_measured_apart_goes_by_that_studys_predictions(
    monkeypatch, verdicts, outcome, reason
):
    found = judged(monkeypatch, verdicts)
    assert (found.outcome, found.reason) == (outcome, f"{reason} (told)")


def test_every_outcome_that_ships_is_whole_and_its_page_is_there(request):
    assert apart.known() == ["architecture"]
    for name in apart.known():
        found = apart.read(name)
        assert found.verdicts
        assert found.apart.brief.endswith(f"of {len(found.verdicts)} comparisons")
        page = request.config.rootpath / found.apart.page
        assert found.apart.told in page.read_text("utf-8")
        assert (request.config.rootpath / found.apart.made_by.split()[-1]).is_file()


def test_a_name_that_does_not_ship_is_one_line():
    with pytest.raises(StudyError, match=r"^apart: no study 'architectur' ships with its outcome; did you mean arch"):
        apart.read("architectur")


def test_a_row_is_measured_here_or_apart_not_both():
    text = (spec.resources.files("whatelse.study") / "table1.toml").read_text("utf-8")
    study = spec.parse(text, "table1.toml")
    row = next(row for row in study.rows if row.name == "search")
    assert row.apart == "architecture"
    assert not [m for m in study.measurements if m.row == "search"]
    both = text.replace('title = "Size"\n', 'title = "Size"\napart = "architecture"\n')
    assert both != text
    with pytest.raises(StudyError, match="row 'efficiency' has 1 primary measurements; .* measured apart none"):
        spec.parse(both, "mine.toml")
    with pytest.raises(StudyError, match="row 'search'.*no study 'nowhere' ships"):
        spec.parse(text.replace('apart = "architecture"', 'apart = "nowhere"'), "mine.toml")


def test_findings_keep_it_and_former_ones_have_none():
    kept = record.Apart("1 improved, of 1 comparisons", "It is so.", "python it.py", "page.md")
    row = record.Row("search", "Search", "measured", "", "", apart=kept)
    told = codec.to_json(row)
    assert codec.record(record.Row, told, "row") == row
    assert codec.record(record.Row, {k: v for k, v in told.items() if k != "apart"}, "row").apart is None
