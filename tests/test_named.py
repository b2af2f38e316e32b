"""What a user names in Python of his own."""

import sys

import pytest

from whatelse import named
from whatelse.errors import ArtifactError, TaskError


def test_what_stands_beside_a_file_can_be_imported_while_it_is_used_and_no_longer(tmp_path):
    (tmp_path / "beside_me.py").write_text("VALUE = 3\n")
    (tmp_path / "mine_here.py").write_text("def made():\n    import beside_me\n    return beside_me.VALUE\n")
    before = list(sys.path)
    with named.found(f"{tmp_path / 'mine_here.py'}:made", "mine", ArtifactError) as made:
        assert made() == 3
    assert sys.path == before


def test_a_package_on_the_path_is_named_by_its_module():
    with named.found("os.path:join", "mine", ArtifactError) as join:
        assert join("a", "b")


def test_what_is_not_there_is_one_line_with_the_nearest_names(tmp_path):
    (tmp_path / "mine_there.py").write_text("def make():\n    raise SystemExit(3)\nnothing = None\n")
    place = tmp_path / "mine_there.py"
    with pytest.raises(TaskError, match="^mine: no 'maek' in .*; did you mean make"), at(place, "maek"):
        pass
    with pytest.raises(TaskError, match="^mine: ends the process .exit 3."), at(place, "make") as make:
        make()
    with at(place, "nothing") as nothing:
        assert nothing is None


def at(place, name):
    return named.found(f"{place}:{name}", "mine", TaskError)


@pytest.mark.parametrize("error", [ArtifactError, TaskError])
def test_a_file_that_is_not_there_is_one_line_of_whoever_asks(error, tmp_path):
    before = list(sys.path)
    with (
        pytest.raises(error, match="^mine: no such file .*none.py$"),
        named.found(f"{tmp_path}/none.py:f", "mine", error),
    ):
        pass
    assert sys.path == before
