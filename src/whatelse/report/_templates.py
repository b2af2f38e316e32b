"""Pages from templates: one file each that loads nothing, with its style and its script inside."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from whatelse.findings import phrasing as words
from whatelse.report._grid import short_name


def filled(name: str, *, styles: Sequence[str], scripts: Sequence[str], **given: object) -> str:
    """Return a page; the same things give the same bytes.

    Args:
        name: Of its template.
        styles: Files of its style, one after another.
        scripts: Files of its script, likewise; the policy inside the page allows them by their digest and no other.
        given: What the template shows.
    """
    environment = _environment()
    style, script = (
        "".join(environment.get_template(one).render(words=words) for one in some) for some in (styles, scripts)
    )
    page = environment.get_template(name).render(
        **given,
        words=words,
        style=Markup(style),  # noqa: S704 - ships with the package
        script=Markup(script),  # noqa: S704 - ships with the package
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    return re.sub(r"\s*\n\s*(?=<)", "\n", page)  # tags are indented for those who write them


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("whatelse.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = short_name
    environment.filters["css"] = lambda word: word.replace(" ", "-")
    return environment
