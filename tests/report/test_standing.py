from whatelse.report import page, standing
from whatelse.report.findings import parse


def test_a_page_stands_until_its_findings_change(document, tmp_path):
    path = tmp_path / "page.html"
    mark = standing.mark("findings")
    assert not standing.stands(path, mark)
    path.write_text(page.render(parse(document), mark), "utf-8")
    assert standing.stands(path, mark)
    assert not standing.stands(path, standing.mark("other findings"))
    path.write_bytes(b"\xff\xfe")
    assert not standing.stands(path, mark)
