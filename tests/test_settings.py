from dataclasses import dataclass

import pytest

from whatelse import settings
from whatelse.errors import SettingError
from whatelse.settings import param


@dataclass(frozen=True)
class Config:
    share: float = param(0.5, "A share.", low=0.0, high=1.0)
    count: int = param(3, "A count.", low=1)
    kind: str = param("a", "A word.", choices=("a", "bee"))
    flag: bool = param(False, "A flag.")


def test_only_what_differs_from_the_default_is_changed():
    assert settings.changed(settings.build(Config, {"share": 0.5, "count": 4}, "x")) == {"count": 4}


def test_whole_numbers_serve_as_floats():
    assert settings.build(Config, {"share": 1}, "x").share == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shar": 1}, r"x: no setting 'shar'; did you mean share\?"),
        ({"share": 1.5}, r"x: share=1.5 is outside \[0.0, 1.0\]"),
        ({"share": float("nan")}, r"share=nan is outside"),
        ({"count": 0}, r"count=0 is outside \[1, inf\)"),
        ({"count": 2.5}, r"count=2.5 is not of type int"),
        ({"count": True}, r"count=True is not of type int"),
        ({"kind": "be"}, r"kind='be'; did you mean bee\?"),
        ({"flag": 1}, r"flag=1 is not of type bool"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(given, message):
    with pytest.raises(SettingError, match=message):
        settings.build(Config, given, "x")
