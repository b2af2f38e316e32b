"""The site: it builds, loads nothing from elsewhere, and what its pages tell readers to run runs."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

ROOT = Path(__file__).parents[2]


def loaded(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


blocks, forking = (loaded(Path(__file__).with_name(f"{name}.py")) for name in ("blocks", "forking"))
make_site = loaded(ROOT / "docs" / "make_site.py")
PAGES = make_site.pages()
BLOCKS = {place: blocks.read(text) for place, text in PAGES.items()}
EXAMPLE = "example.md"
RUN = [place for place, found in BLOCKS.items() if blocks.runnable(found) and place != EXAMPLE]
# What a page may hold beside what is run: output, and files of formats that others read.
SHOWN = ("text", "json", "yaml", "toml")
# Extras without which a page's blocks cannot run.
NEEDS = {
    "models/onnx.md": ("onnx", "onnxruntime", "onnxscript"),
    "models/hugging-face.md": ("transformers", "PIL"),
    "models/language.md": ("compressed_tensors", "transformers"),
    "models/scikit-learn.md": ("skops", "sklearn"),
    "models/openvino.md": ("openvino",),
}


@pytest.fixture(scope="module")
def whatelse(tmp_path_factory):
    """The environment of a reader: ``whatelse`` is on the path."""
    folder = tmp_path_factory.mktemp("bin")
    address = str(folder / "s")
    environment = blocks.environment(folder)
    (folder / "whatelse").write_text(forking.CLIENT.format(python=sys.executable, address=address))
    (folder / "whatelse").chmod(0o755)
    call = [sys.executable, forking.__file__, address]
    with subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        yield environment
        server.terminate()


@pytest.fixture(scope="module")
def example(tmp_path_factory, whatelse):
    """The folder that the page of the example makes."""
    folder = tmp_path_factory.mktemp("example")
    blocks.run(BLOCKS[EXAMPLE], folder, whatelse)
    return folder


def installing(folder):
    """What lets a reader's ``pip install`` put a package into a folder of the test, from what is at hand."""
    told = {"PIP_TARGET": str(folder), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0 is how pip spells it
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**told, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": os.pathsep.join(path)}


@pytest.mark.slow
@pytest.mark.parametrize("place", RUN)
def test_what_a_page_tells_its_reader_to_run_runs(place, example, whatelse, tmp_path):
    for name in NEEDS.get(place, ()):
        pytest.importorskip(name, reason=f"the blocks of {place} need it")
    folder = shutil.copytree(example, tmp_path / "reader")
    blocks.run(BLOCKS[place], folder, {**whatelse, **installing(tmp_path / "installed")})


def test_every_block_is_run_or_says_why_not():
    for place, found in BLOCKS.items():
        for block in found:
            where = f"{place}, line {block.line}"
            assert not block.rest.strip(), f"{where}: {block.rest}"
            assert block.language in {*blocks.RUN, *SHOWN}, f"{where}: {block.language or 'no language'}"
            if block.title and not (block.file or block.skipped):
                assert block.title == blocks.PRINTS or block.title.startswith(blocks.ENDS), f"{where}: {block.title}"
    skipped = [block.skipped for found in BLOCKS.values() for block in found if block.skipped]
    assert len(skipped) == 17, "a block that is not run is counted here, so that none is left out by the way"


def test_a_block_that_fails_or_prints_otherwise_is_noticed(tmp_path):
    told = {"PATH": "/usr/bin:/bin"}
    page = '```bash\necho two  words\n```\n\n```text title="Prints"\n{}\n```\n'
    blocks.run(blocks.read(page.format("two words")), tmp_path, told)
    blocks.run(blocks.read(page.format("t...ds")), tmp_path, told)
    with pytest.raises(AssertionError, match="not printed: three"):
        blocks.run(blocks.read(page.format("three")), tmp_path, told)
    with pytest.raises(AssertionError, match="line 2"):
        blocks.run(blocks.read("\n```bash\nfalse\ntrue\n```"), tmp_path, told)
    blocks.run(blocks.read('```bash title="Ends with exit code 3"\nexit 3\n```'), tmp_path, told)
    blocks.run(blocks.read('```bash title="Not run by the tests: a reason"\nfalse\n```'), tmp_path, told)


def test_every_command_and_option_has_its_place():
    import typer

    from whatelse.cli.app import app

    for name, command in typer.main.get_command(app).commands.items():
        section = PAGES["commands.md"].split(f"\n## {name}\n")[1].split("\n## ")[0]
        for option in command.params:
            for called in option.opts if option.param_type_name == "option" else ():
                assert f"`{called}`" in section


def test_commands_that_are_shown_anywhere_have_these_options():
    import typer

    from whatelse.cli.app import app

    options = {
        name: {called for one in command.params for called in one.opts} | {"--help"}
        for name, command in typer.main.get_command(app).commands.items()
    }
    told = {**PAGES, "README.md": (ROOT / "README.md").read_text("utf-8")}
    shown = [
        (place, *found.groups())
        for place, text in told.items()
        for found in re.finditer(r"(?:^ *|`)whatelse ([a-z]+)\b([^`\n]*)", text.replace("\\\n", " "), re.MULTILINE)
    ]
    assert {command for _, command, _ in shown} == set(options)
    for place, command, rest in shown:
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest.partition("#")[0]):
            assert option in options[command], f"{place}: whatelse {command} has no {option}"


def test_every_form_of_a_model_has_its_page():
    from whatelse import registry

    told = PAGES["models/index.md"]
    for name in registry.ours("openers"):
        assert f"`{name}`" in told, f"docs/site/models/index.md: no row for the opener {name}"


def test_links_to_sources_become_words_and_links_to_pages_lead_there():
    assert "](../src" not in "".join(PAGES.values())
    assert "[decision 18](decisions/0018-intervals.md)" in PAGES["verdicts.md"]
    assert "[Models that are objects](models/objects.md)" in PAGES["python.md"]
    assert "(index.md)" in PAGES["behaviours/fairness.gap.md"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("zensical", reason="the site is built by Zensical: pip install 'whatelse[docs]'")
    folder = tmp_path_factory.mktemp("site")
    make_site.build(folder)
    return folder


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site):
    for place in PAGES:
        assert site.joinpath(place).with_suffix(".html").is_file(), place
    loads = re.compile(
        r"<(?:script|link|img|iframe|source|audio|video|object|embed|use)\b[^>]*\b(?:src|href|data)=\"([^\"]+)"
    )
    for file in site.rglob("*.html"):
        text = file.read_text("utf-8")
        assert not [one for one in loads.findall(text) if re.match(r"(?:https?:)?//", one)], file
        assert text.index("default-src 'self'") < text.index("<script")
    for file in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", file.read_text("utf-8")), file


@pytest.mark.browser
@pytest.mark.parametrize("served", [False, True], ids=["folder", "server"])
def test_a_browser_shows_it_and_asks_nobody_else(site, served):
    driver = pytest.importorskip("playwright.sync_api")
    place = os.environ.get("WHATELSE_CHROMIUM") or shutil.which("chromium")
    if place is None:
        pytest.skip("no Chromium: install Debian's chromium, or name one in WHATELSE_CHROMIUM")
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, driver.sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        start = f"http://127.0.0.1:{server.server_port}/index.html" if served else site.joinpath("index.html").as_uri()
        browser = playwright.chromium.launch(executable_path=place, args=["--no-sandbox", "--disable-gpu"])
        page, asked, said = browser.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.goto(start)
        page.get_by_role("link", name="Plug-ins").first.click()
        page.wait_for_url("**/plugins.html")
        assert page.evaluate("getComputedStyle(document.querySelector('.md-header')).position") == "sticky"
        if served:
            page.get_by_role("button", name="Search").first.click()
            page.keyboard.type("bitsandbytes")
            page.get_by_text("Quantized, pruned, compiled").last.wait_for()
        page.wait_for_load_state("networkidle")
        browser.close()
        server.shutdown()
    assert len(asked) > 2
    assert {url.rpartition("/")[0].startswith(start.rpartition("/")[0]) for url in asked} == {True}, asked
    # The search wants a server.
    assert not [one for one in said if served or "ERR_FILE_NOT_FOUND" not in one]


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing."""

    def log_message(self, *said):
        del said


def test_a_link_that_leads_nowhere_ends_the_build(monkeypatch, tmp_path):
    pytest.importorskip("zensical", reason="the site is built by Zensical: pip install 'whatelse[docs]'")
    monkeypatch.setattr(make_site, "pages", lambda: {**PAGES, "index.md": "# Start\n\n[gone](gone.md)\n"})
    with pytest.raises(SystemExit, match=r"\[gone\]\(gone\.md\)"):
        make_site.build(tmp_path / "site")
