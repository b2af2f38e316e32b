from whatelse.report import page, standing
from whatelse.report.findings import parse


def test_a_page_stands_until_its_findings_change(document, tmp_path):
    path = tmp_path / "page.html"
    mark = standing.mark("findings")
    assert not standing.stands(path, mark)
    path.write_text(standing.closed(page.render(parse(document), mark)), "utf-8")
    assert standing.stands(path, mark)
    assert not standing.stands(path, standing.mark("other findings"))
    path.write_bytes(b"\xff\xfe")
    assert not standing.stands(path, mark)


def test_a_damaged_page_does_not_stand(document, tmp_path):
    path, mark = tmp_path / "page.html", standing.mark("findings")
    whole = standing.closed(page.render(parse(document), mark)).encode()
    middle = len(whole) // 2
    for raw in (
        whole[:-1],
        whole[:middle],
        whole + b" ",
        whole[:middle] + bytes(512) + whole[middle + 512 :],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        page.render(parse(document), mark).encode(),
        b"",
    ):
        path.write_bytes(raw)
        assert not standing.stands(path, mark)
    path.write_bytes(whole)
    assert standing.stands(path, mark)
