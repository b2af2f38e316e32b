"""Write the JSON Schemas of a findings file and of a search, from the classes that write and read them.

    python docs/make_schema.py

A test holds that the committed schemas are what this makes: run it (`make docs`) after changing a record, and raise its
``SCHEMA``, in `whatelse.findings.record` or `whatelse.findings.searched`, where a key gets another name or meaning, or
goes.
"""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from whatelse.findings import record, searched
from whatelse.findings.record import Findings
from whatelse.findings.searched import Searched

FILE, OF_SEARCHES = (Path(__file__).parent / f"{name}.schema.json" for name in ("findings", "search"))
_TITLES = {
    Findings: (record.SCHEMA, f"Findings of whatelse, schema {record.SCHEMA}"),
    Searched: (searched.SCHEMA, f"A search of whatelse, schema {searched.SCHEMA}"),
}
_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema(kind: type[Any] = Findings) -> dict[str, Any]:
    """Return the schema of a record: one definition for each class, by its name."""
    version, title = _TITLES[kind]
    defined: dict[str, Any] = {}
    _defined(kind, defined)
    whole = defined.pop(kind.__name__)
    whole["properties"]["schema"] = {"const": version}
    whole["required"] = ["schema", *whole["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **whole,
        "$defs": dict(sorted(defined.items())),
    }


def _defined(kind: type[Any], defined: dict[str, Any]) -> None:
    """Add the definition of a record, and of the records inside it."""
    if kind.__name__ in defined:  # a tree holds trees
        return
    made: dict[str, Any] = {}
    defined[kind.__name__] = made
    hints = get_type_hints(kind)
    made["description"] = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    made["type"] = "object"
    made["properties"] = {f.name.removesuffix("_"): _of(hints[f.name], defined) for f in fields(kind)}
    made["required"] = [
        f.name.removesuffix("_") for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    ]


def _of(hint: Any, defined: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - any annotation of a record
    if hint is Any:
        return {}
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if is_dataclass(hint):
        assert isinstance(hint, type)
        _defined(hint, defined)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    origin, inner = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return {"anyOf": [{"type": "null"} if part is types.NoneType else _of(part, defined) for part in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _of(inner[1], defined)}
    if origin is tuple:
        fixed = {} if inner[-1] is ... else {"minItems": len(inner), "maxItems": len(inner)}
        return {"type": "array", "items": _of(inner[0], defined), **fixed}
    assert issubclass(hint, Enum)
    return {"enum": [one.value for one in hint]}


def text(kind: type[Any] = Findings) -> str:
    """Return the schema of a record as it is kept."""
    return json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
    OF_SEARCHES.write_text(text(Searched), "utf-8")
