from pathlib import Path

import pytest

from whatelse.findings.record import parse
from whatelse.report import page, page_cache

pytestmark = pytest.mark.slow  # pages, processes, whole models or many of them: not for every save


def test_a_page_stands_until_its_findings_change(document, tmp_path):
    path = tmp_path / "page.html"
    mark = page_cache.mark("findings")
    assert not page_cache.stands(path, mark)
    path.write_text(page_cache.closed(page.render(parse(document), mark)), "utf-8")
    assert page_cache.stands(path, mark)
    assert not page_cache.stands(path, page_cache.mark("other findings"))
    path.write_bytes(b"\xff\xfe")
    assert not page_cache.stands(path, mark)


def test_the_mark_holds_all_that_says_something_of_findings(monkeypatch):
    read = set()
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.add("/".join(path.parts[-2:])), whole(path))[1])
    page_cache.mark("findings")
    wanted = {"findings/answers.py", "findings/phrasing.py", "report/page.py", "templates/first.html"}
    assert wanted <= read


def test_a_damaged_page_does_not_stand(document, tmp_path):
    path, mark = tmp_path / "page.html", page_cache.mark("findings")
    whole = page_cache.closed(page.render(parse(document), mark)).encode()
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
        assert not page_cache.stands(path, mark)
    path.write_bytes(whole)
    assert page_cache.stands(path, mark)
