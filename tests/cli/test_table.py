from importlib import resources


def test_the_study_of_the_table_is_given_away(tmp_path, whatelse):
    assert whatelse("table", "--copy", "mine.toml", cwd=tmp_path).returncode == 0
    shipped = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    assert (tmp_path / "mine.toml").read_text("utf-8") == shipped
