"""What keeps the tree small, its arrows one-way and the import light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "whatelse"
FILES = sorted(SRC.rglob("*.py"))
HEAVY = ("torch", "sklearn", "matplotlib", "scipy", "numpy", "ray", "pandas")

# Which rooms a room may import; a file at the top is a room of its own. Arrows point one way.
LOW = {"errors", "limits", "mapped", "hub", "named", "settings", "registry", "items", "tasks"}
MODELS = LOW | {"layers", "modules", "models"}
OBSERVED = MODELS | {"answer", "evidence", "statistics"}
MAY = {
    "errors": set(),
    "answer": set(),
    "limits": {"errors"},
    "mapped": {"errors", "limits"},
    "hub": set(),
    "named": {"errors"},
    "settings": {"errors"},
    "cards": {"errors"},
    "kinds": {"errors"},
    "registry": {"errors", "cards", "kinds"},
    "parts": {"errors", "registry"},
    "items": {
        "errors",
        "settings",
        "registry",
        "parts",
        "answer",
        "evidence",
        "tasks",
        "searching",
        "models",
    },  # the last four as types
    "records": {"errors"},
    "toml_schema": {"errors", "records"},
    "statistics": {"errors"},
    "tasks": {"errors", "limits"},
    "datasets": LOW,
    "layers": {"errors"},
    "modules": LOW | {"layers"},
    "models": LOW | {"layers", "modules"},
    "evidence": MODELS | {"answer"},
    "training": LOW | {"layers", "modules"},
    "nets": LOW | {"layers", "modules", "training"},
    "recipe": LOW | {"modules"},
    "methods": LOW | {"layers", "modules", "training", "recipe"},
    "attacks": OBSERVED | {"training"},
    "explainers": OBSERVED,
    "behaviours": OBSERVED | {"training", "attacks", "explainers"},
    "searching": OBSERVED
    | {"recipe", "artifacts", "auditing", "engines", "findings", "gate", "opening", "store", "study", "training"},
    "artifacts": OBSERVED | {"recipe"},
    "openers": MODELS | {"recipe", "artifacts", "items"},
    "opening": MODELS | {"parts", "recipe", "items"},
    "findings": {"errors", "limits", "records", "surfaces"},  # the last found by path, which knows no findings
    "store": MODELS,
    "engines": {"errors"},
    "auditing": OBSERVED | {"findings", "records", "toml_schema"},
    "exhibits": OBSERVED | {"answer", "parts", "auditing", "findings"},
    "study": OBSERVED
    | {"recipe", "auditing", "exhibits", "engines", "findings", "models", "opening", "store", "toml_schema"},
    "controls": set(),
    "templates": {"errors", "kinds", "registry"},
    "testing": OBSERVED
    | {"recipe", "searching", "nets", "training", "parts", "kinds", "cards", "study", "findings", "surfaces", "records"}
    | {"opening", "engines", "exhibits", "auditing", "gate"},
    "surfaces": {"errors", "registry", "parts"},
    "report": {"errors", "limits", "findings"},
    "gate": {"errors", "limits", "findings", "statistics", "toml_schema"},
    "cli": LOW
    | {"kinds", "templates"}
    | {"artifacts", "auditing", "gate", "opening", "recipe", "findings", "report", "study", "searching", "surfaces"},
    "__init__": {"artifacts", "errors", "evidence", "models", "opening", "registry", "searching", "study", "tasks"},
}


def room_of(path):
    first = path.relative_to(SRC).parts[0]
    return first.removesuffix(".py")


def imported(path):
    """Every module of the project, and every outside package, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{a.name}" for a in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_files_and_functions_stay_short(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            doc = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
            assert node.end_lineno - node.lineno + 1 - doc <= 50, node.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_arrows_point_one_way(path):
    room = room_of(path)
    for module in imported(path):
        parts = module.split(".")
        if parts[0] != "whatelse" or len(parts) == 1:
            continue
        assert parts[1] == room or parts[1] == "__version__" or parts[1] in MAY[room], f"{room} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_items_never_import_items(path):
    parts = path.relative_to(SRC).parts
    if parts[0] not in {"methods", "behaviours"}:
        return
    for module in imported(path):
        names = module.split(".")
        if names[:2] == ["whatelse", parts[0]]:
            assert any(n.startswith("_") for n in names[2:]), f"{path.name} imports the item {module}"


@pytest.mark.parametrize("room", ["statistics", "report"])
def test_statistics_and_report_know_nothing_of_torch(room):
    for path in (SRC / room).rglob("*.py"):
        assert not {m.split(".")[0] for m in imported(path)} & {"torch", "safetensors"}, path


def test_every_room_is_in_the_map():
    assert {room_of(p) for p in FILES} <= set(MAY)


def test_import_and_listing_are_light():
    code = (
        "import sys, whatelse; from whatelse import registry;"
        "[registry.card(k, n) for k in ('methods', 'behaviours') for n in registry.names(k)];"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stdout.strip() == "[]", out.stdout + out.stderr


def test_public_names_are_there_and_sorted():
    import whatelse

    assert whatelse.__all__ == sorted(whatelse.__all__)
    for name in whatelse.__all__:
        assert getattr(whatelse, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = whatelse.nothing


def test_no_public_name_is_also_the_name_of_a_module():
    # The import system would put the module in its place on first use.
    import whatelse

    assert not set(whatelse.__all__) & {room_of(p) for p in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_no_private_name_is_imported_from_another_room(path):
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "whatelse" and len(parts) > 1 and parts[1] != room_of(path):
            private = [n for n in parts if n.startswith("_") and n != "__version__"]
            assert not private, f"{module} belongs to its room alone"
