"""Write the JSON Schema of a findings file, from the classes that write and read it.

    python docs/make_schema.py

A test holds that the committed schema is what this makes: run it (`make docs`) after changing a record, and raise
`whatelse.findings.record.SCHEMA` where a key gets another name or meaning, or goes.
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

from whatelse.findings.record import SCHEMA, Findings

FILE = Path(__file__).parent / "findings.schema.json"
_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema() -> dict[str, Any]:
    """Return the schema: one definition for each class, by its name."""
    defined: dict[str, Any] = {}
    _defined(Findings, defined)
    whole = defined.pop(Findings.__name__)
    whole["properties"]["schema"] = {"const": SCHEMA}
    whole["required"] = ["schema", *whole["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Findings of whatelse, schema {SCHEMA}",
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


def text() -> str:
    """Return the schema as it is kept."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
