import sys

import pytest

from whatelse import items, registry
from whatelse.errors import ItemError, MissingExtraError, UnknownItemError

NET = '''"""A network of one layer.

Source:
    Nobody, 2026.
"""

from dataclasses import dataclass

from torch import nn

from whatelse.settings import param

ITEM = "net mine"
VERSION = 1


@dataclass(frozen=True)
class Config:
    """Settings."""

    bias: bool = param(True, "Whether it has one.")


def build(config, shape, classes, rng):
    """Return it."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], classes, bias=config.bias))
'''


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Whatever a test adds is forgotten after it."""
    monkeypatch.setattr(registry, "_ADDED", {})
    yield
    registry._installed.cache_clear()


@pytest.fixture
def file(tmp_path):
    def write(text, name="mine.py"):
        (tmp_path / name).write_text(text, "utf-8")
        return tmp_path / name

    return write


def package(folder, monkeypatch, points, *, name="extra", version="1.2"):
    """Install a package by hand: what pip leaves in a folder on the path."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(folder)
    registry._installed.cache_clear()


def test_the_path_is_the_name():
    assert "prune.magnitude" in registry.names("methods")
    assert "generalization.accuracy" in registry.names("behaviours")
    assert all("_" not in n.rsplit(".", 1)[1][:1] for k in ("methods", "behaviours") for n in registry.names(k))


def test_a_card_is_read_without_importing():
    card = registry.card("methods", "prune.magnitude")
    assert card.summary.startswith("Zero the weights of smallest absolute value")
    assert "1506.02626" in card.source
    assert card.settings[:2] == ("sparsity", "scope")
    assert card.constants == {
        "VERSION": 1,
        "KNOB": "sparsity",
        "TAKES": ("dense", "sparse"),
        "LEAVES": "sparse",
        "LAYERWISE": True,
    }


def test_a_method_has_a_source_alone():
    card = registry.card("methods", "prune.magnitude")
    assert (card.reading, card.cost, card.limits) == ("", "", "")
    assert "Source" not in card.definition


@pytest.mark.parametrize("kind", ["methods", "behaviours"])
def test_cards_agree_with_the_imported_items(kind):
    for name in registry.names(kind):
        item, card = registry.load(kind, name), registry.card(kind, name)
        assert card.constants["VERSION"] == item.VERSION
        assert card.summary
        assert set(card.needs) == (item.NEEDS if kind == "behaviours" else set())


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownItemError, match=r"no method named 'prune.magnitud'; did you mean prune.magnitude\?"):
        registry.load("methods", "prune.magnitud")


def test_a_file_is_an_item_that_nothing_runs_before_it_is_used(file):
    path = file(NET + "\nimport builtins\nbuiltins.whatelse_ran = True\n")
    (source,) = registry.add(path)
    assert (source.kind, source.name, source.comes_from) == ("nets", "mine", "mine.py")
    assert "mine" in registry.names("nets")
    assert "mine" not in registry.ours("nets")
    card = registry.card("nets", "mine")
    assert (card.summary, card.settings, card.origin) == ("A network of one layer.", ("bias",), "mine.py")
    import builtins

    assert not hasattr(builtins, "whatelse_ran")
    try:
        net = items.net("mine")
        assert builtins.whatelse_ran
    finally:
        del builtins.whatelse_ran
    assert net.changed({"bias": False}) == (("bias", False),)
    assert net.origin == source.origin
    assert items.net("mine") is net, "resolved once"


def test_another_text_is_another_item_and_the_same_one_is_not(file):
    first = registry.add(file(NET))
    net = items.net("mine")
    assert registry.add(file(NET)) == first
    assert items.net("mine") is net
    (second,) = registry.add(file(NET.replace("one layer", "a layer")))
    assert second.origin != first[0].origin
    assert items.net("mine").origin == second.origin, "its results have other keys, though VERSION is the same"
    assert registry.card("nets", "mine").summary == "A network of a layer."


def test_a_worker_takes_up_what_was_planned_and_nothing_else(file):
    path = file(NET)
    registry.add(path)
    (one,) = registry.added()
    registry._ADDED.clear()
    registry.add(one.path, one.origin)
    assert registry.added() == (one,)
    file(NET + "\n")
    with pytest.raises(ItemError, match=r"mine\.py: it changed after the work was planned"):
        registry.add(one.path, one.origin)


def test_of_a_folder_the_files_that_declare_an_item_are_taken(file, tmp_path):
    file(NET)
    file(NET.replace("net mine", "net other"), "other.py")
    file("import nothing_that_exists\n", "helper.py")
    assert [s.name for s in registry.add(tmp_path)] == ["mine", "other"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ItemError, match="empty: no file in this folder says what it is"):
        registry.add(tmp_path / "empty")


def test_what_stands_beside_a_file_is_found(file):
    file("WIDTH = 3\n", "beside_whatelse_item.py")
    registry.add(file(NET + "\nfrom beside_whatelse_item import WIDTH\n"))
    before = list(sys.path)
    assert registry.load("nets", "mine").WIDTH == 3
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no ITEM; a file of your own says what it is by one constant, such as ITEM = "),
        ("ITEM = 3", r"ITEM is 3; a file of your own says"),
        ("ITEM = 'net'", r"ITEM = 'net': the name '' is not of lower-case words"),
        ("ITEM = 'behavior fairness.mine'", r"'behavior': no such kind of item; did you mean behaviour"),
        (
            "ITEM = 'method mine'",
            r"the name 'mine' has no family; one of decompose, distill, mixed, prune, quantize, train",
        ),
        ("ITEM = 'net cnn'", r"mine.py: net cnn is taken, by whatelse itself; choose another name"),
        ("ITEM = = 1", r"line 1: invalid syntax"),
    ],
)
def test_a_file_that_is_no_item_is_refused_in_one_line(file, text, message):
    with pytest.raises(ItemError, match=message) as error:
        registry.add(file(text))
    assert "\n" not in str(error.value)
    assert not registry.added()


def test_a_name_of_another_file_and_a_file_that_is_not_there_are_refused(file, tmp_path):
    registry.add(file(NET))
    with pytest.raises(ItemError, match=r"other.py: net mine is taken, by .*mine.py"):
        registry.add(file(NET, "other.py"))
    with pytest.raises(ItemError, match="nothing.py: No such file"):
        registry.add(tmp_path / "nothing.py")


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ("import no_such_package", MissingExtraError, "mine needs the package 'no_such_package'"),
        ("1 / 0", ItemError, "mine.py: ZeroDivisionError on import: division by zero"),
    ],
)
def test_a_file_that_cannot_be_imported_is_said_in_one_line(file, more, error, message):
    registry.add(file(f"{NET}\n{more}\n"))
    for _ in range(2):  # nothing half-run is taken for whole the second time
        with pytest.raises(error, match=message):
            items.net("mine")


def test_an_entry_point_is_an_item_that_listing_does_not_import(tmp_path, monkeypatch):
    (tmp_path / "extra_nets" / "deep").mkdir(parents=True)
    for folder in ("extra_nets", "extra_nets/deep"):
        (tmp_path / folder / "__init__.py").write_text("ran = True\n")
    (tmp_path / "extra_nets" / "deep" / "mine.py").write_text(NET)
    package(tmp_path, monkeypatch, "[whatelse.nets]\nmine = extra_nets.deep.mine\n")
    assert "mine" in registry.names("nets")
    card = registry.card("nets", "mine")
    assert (card.summary, card.origin) == ("A network of one layer.", "extra 1.2")
    assert not [m for m in sys.modules if m.startswith("extra_nets")]
    net = items.net("mine")
    assert (net.origin, net.where) == ("extra 1.2", "nets.mine")
    (tmp_path / "own.py").write_text(NET)
    with pytest.raises(ItemError, match="is taken, by extra 1.2"):
        registry.add(tmp_path / "own.py")


def test_an_entry_point_that_takes_our_name_is_refused_where_it_is_asked_for(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, "[whatelse.nets]\ncnn = extra_other.cnn\n")
    with pytest.raises(ItemError, match="net cnn: extra 1.2 and whatelse itself have one of that name; uninstall"):
        items.net("cnn")
    assert items.net("mlp").origin == ""


def test_an_entry_point_that_says_it_is_another_item_or_is_broken_is_refused(tmp_path, monkeypatch):
    (tmp_path / "extra_file.py").write_text(NET)
    (tmp_path / "extra_broken.py").write_text("raise RuntimeError('no\\nluck')\n")
    package(
        tmp_path,
        monkeypatch,
        "[whatelse.nets]\nother = extra_file\nbroken = extra_broken\nabsent = extra_absent.at.all\n",
    )
    with pytest.raises(ItemError, match="net other of extra 1.2: ITEM is 'net mine', and it was asked for as"):
        items.net("other")
    with pytest.raises(ItemError, match="net broken of extra 1.2: RuntimeError on import: no luck"):
        items.net("broken")
    with pytest.raises(MissingExtraError, match="absent needs the package 'extra_absent'"):
        registry.card("nets", "absent")
