"""Build the site from pages that are written and pages that the code makes; nothing is fetched, nothing is sent.

    python docs/make_site.py            # into site/

`docs/site` holds what only the site has; every other page is where it always was, so that a fact stands in one place.
All are gathered into one folder, with links from page to page led anew, and built there by Zensical (decision 0035).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# Of docs/ itself, by where they stand on the site.
_SHARED = ("architecture", "design", "endpoints", "findings", "gate", "validation")
_FOLDERS = ("behaviours", "decisions")
_PICTURES = (".png", ".svg")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
# The theme's script would fetch more for diagrams and the like: a browser that is told this fetches nothing.
_ALONE = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'self' 'unsafe-inline' data: blob:; "
    "connect-src 'self'\">"
)
_COLORS = re.compile(r"\x1b\[[\d;]*m")
_FENCE = re.compile(r"^ *(```|~~~)")


def pages() -> dict[str, str]:
    """Return the text of every page by its place on the site, such as ``models/onnx.md``."""
    places = _places()
    written = {place: _led(file, place, places) for file, place in places.items() if place.endswith(".md")}
    reference = _module("make_reference")
    return {**written, **reference.pages()}


def build(to: Path) -> None:
    """Build the site; a link that leads nowhere ends it.

    Args:
        to: An empty or absent folder, or one that this has built before.

    Raises:
        SystemExit: A page is not as it should be.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, text in pages().items():
            page = folder / "docs" / name
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, "utf-8")
        for file, name in _places().items():
            if not name.endswith(".md"):
                shutil.copy(file, folder / "docs" / name)
        shutil.copy(DOCS / "mkdocs.yml", folder)
        ran = subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(folder / "mkdocs.yml")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode:
            raise SystemExit(_COLORS.sub("", f"{ran.stdout}{ran.stderr}".partition("Traceback")[0]))
        for page in (folder / "site").rglob("*.html"):
            page.write_text(page.read_text("utf-8").replace("<head>", f"<head>{_ALONE}", 1), "utf-8")
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(folder / "site", to)


def _places() -> dict[Path, str]:
    """Return where the files of this folder stand on the site."""
    found = {DOCS / f"{name}.md": f"{name}.md" for name in _SHARED}
    found |= {file: str(file.relative_to(DOCS / "site")) for file in (DOCS / "site").rglob("*.md")}
    for name in _FOLDERS:
        found |= {file: f"{name}/{file.name}" for file in (DOCS / name).glob("*.md")}
    found |= {file: file.name for file in DOCS.iterdir() if file.suffix in _PICTURES}
    # An index of a folder is called so on sites, and otherwise where code is kept.
    return {file: place.replace("README.md", "index.md") for file, place in sorted(found.items())}


def _led(file: Path, place: str, places: Mapping[Path, str]) -> str:
    """Return the text of a page with its links led to where the pages stand on the site."""
    lines, inside = [], False
    for line in file.read_text("utf-8").split("\n"):
        inside ^= bool(_FENCE.match(line))
        lines.append(line if inside else _LINK.sub(lambda found: _link(found, file, place, places), line))
    return "\n".join(lines)


def _link(found: re.Match[str], file: Path, place: str, places: Mapping[Path, str]) -> str:
    picture, text, target = found.groups()
    path, mark, anchor = target.partition("#")
    if not path or "://" in target:
        return found[0]
    # A page that quotes the README has its links.
    there = next((one for one in ((file.parent / path).resolve(), ROOT / path) if one.exists()), ROOT / path)
    if there in places:
        return f"{picture}[{text}]({os.path.relpath(places[there], Path(place).parent)}{mark}{anchor})"
    # Of the sources: there on a checkout, and nowhere on the site.
    return text if there.exists() else found[0]


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"docs/{name}.py is not there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Build the site into the folder that is asked for."""
    parser = argparse.ArgumentParser(description="Build the site.")
    parser.add_argument("--to", type=Path, default=ROOT / "site", help="where [site]")
    build(parser.parse_args().to)


if __name__ == "__main__":
    main()
