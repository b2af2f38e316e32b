import os
import socket

import pytest

from whatelse import limits
from whatelse.errors import SettingError, TaskError


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("7", 7), ("2K", 2048), ("1.5M", 1572864), ("8G", 8 * 2**30), ("8gb", 8 * 2**30), ("1 TiB", 2**40), (12, 12)],
)
def test_sizes_are_read(text, bytes_):
    assert limits.amount(text, "m") == bytes_


@pytest.mark.parametrize("text", ["", "0", "-1", "G", "8X", "1e9", "nan", "8 G G", "9" * 400])
def test_what_is_no_size_is_refused_by_name(text):
    with pytest.raises(SettingError, match=r"m='.*a number of bytes is needed"):
        limits.amount(text, "m")


@pytest.mark.parametrize("text", ["0", "-2", "x", "inf"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(SettingError, match="seconds above 0"):
        limits.duration(text, "t")


def test_the_limit_is_that_inside_of_the_caller_then_of_the_environment_then_the_default(monkeypatch):
    assert limits.current().room(0) == 2 * 2**30
    assert limits.current().room(2**30) == 16 * 2**30, "what lies on disk is not doubted"
    monkeypatch.setenv(limits.VARIABLE, "3G")
    monkeypatch.setenv(limits.TIME, "4.5")
    assert (limits.current().room(2**40), limits.current().time(2**40)) == (3 * 2**30, 4.5)
    with limits.within("5M"):
        assert limits.current() == limits.Limit(5 * 2**20, 4.5)
        assert limits.current().environment() == {limits.VARIABLE: str(5 * 2**20), limits.TIME: "4.5"}
        with limits.within(None, 7):
            assert limits.current() == limits.Limit(5 * 2**20, 7.0)
    assert limits.current().memory == 3 * 2**30
    monkeypatch.setenv(limits.VARIABLE, "much")
    with pytest.raises(SettingError, match="WHATELSE_MAX_MEMORY"):
        limits.current()


def test_what_asks_for_too_much_is_refused_with_both_numbers_and_the_way_out():
    with (
        limits.within("1M"),
        pytest.raises(TaskError, match=r"d would take 4 TiB of memory; allowed are 1 MiB; --max-mem"),
    ):
        limits.check(4 * 2**40, 0, "d", TaskError)
    limits.check(2**20, 0, "d", TaskError)


def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "file").write_text("abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert limits.regular(tmp_path / "link") == 3
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    for name, said in (("pipe", "a pipe"), ("socket", "a socket"), (".", "a folder")):
        with pytest.raises(OSError, match=f"{said}, where a file is needed"):
            limits.text(tmp_path / name)
    with pytest.raises(OSError, match="a device"):
        limits.text("/dev/zero")
    with pytest.raises(OSError, match="no name of a file"):
        limits.text("a\0b")


def test_a_text_of_more_than_may_be_read_is_not_read(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(OSError, match=r"too large, 8 GiB where 128 MiB are allowed"):
        limits.text(tmp_path / "large")
