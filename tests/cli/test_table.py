from importlib import resources

import pytest

from whatelse.cli import running
from whatelse.errors import StudyError


def test_the_study_of_the_table_is_given_away(tmp_path, whatelse):
    assert whatelse("table", "--copy", "mine.toml", cwd=tmp_path).returncode == 0
    shipped = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    assert (tmp_path / "mine.toml").read_text("utf-8") == shipped


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [("1", [0]), ("3", [0, 1, 2]), ("32-35", [32, 33, 34, 35]), ("7-7", [7])],
)
def test_seeds_that_are_asked_for_stand_in_the_place_of_the_studys_own(seeds, expected):
    shipped = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    study = running._study((shipped, "table1.toml"), seeds, "", full=False)
    assert study.seeds == expected


@pytest.mark.parametrize("seeds", ["0", "x", "-1", "5-", "9-3", "1-100000", "٣", "1.5", "0-3-5"])
def test_seeds_that_are_none_are_refused(seeds):
    shipped = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    with pytest.raises(StudyError, match="^--seeds '.*'; give how many, 1 to 10,000, or two ends such as 32-63$"):
        running._study((shipped, "table1.toml"), seeds, "", full=False)


def test_a_device_that_is_asked_for_stands_in_the_place_of_the_studys_own():
    shipped = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    assert not running._study((shipped, "table1.toml"), "", "", full=False).device
    assert running._study((shipped, "table1.toml"), "3", "cuda", full=False).device == "cuda"
