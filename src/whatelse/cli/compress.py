"""Compressing a model into a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from whatelse.cli import complete
from whatelse.cli.files import probe, write
from whatelse.cli.options import Device, Items, Memory, Quiet, Seed
from whatelse.errors import ArtifactError

if TYPE_CHECKING:
    from whatelse.artifacts.compress import Compressed

ORDER = 4
Key = Annotated[str, typer.Option("--weights-key", metavar="NAME", help="Which of several weights in that file.")]

_FORMAT = (
    "How to write a language model: floats, or compressed-tensors (few bits), which from_pretrained loads; or whatelse "
    "(few bits, zeros as such). By default floats where they say it all."
)
_STEPS = "What to do: method(setting=...) > ..."
_MODEL = "A folder written by compress, one of a language model, file.py:function, or 'cnn()'."
Model = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL)]
Steps = Annotated[str, typer.Option("--recipe", metavar="RECIPE", help=_STEPS, autocompletion=complete.steps)]


def command(
    model: Model,
    steps: Steps,
    data: Annotated[str, typer.Option("--data", metavar="D", help="A file .npz or .safetensors, or a data loader.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make.")],
    weights: Annotated[str, typer.Option("--weights", metavar="FILE[:NAME]", help="For file.py:function.")] = "",
    weights_key: Key = "",
    seed: Seed = 0,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx too, checked in onnxruntime.")] = False,
    pt2: Annotated[bool, typer.Option("--pt2", help="Write model.pt2 too, an exported PyTorch program.")] = False,
    form: Annotated[str, typer.Option("--format", metavar="FORM", help=_FORMAT)] = "",
    json_file: Annotated[str, typer.Option("--json", metavar="FILE", help="Write costs as JSON; - for stdout.")] = "",
    device: Device = "",
    max_memory: Memory = "",
    quiet: Quiet = False,
    items: Items = None,
) -> None:
    """Make a smaller model, write it, reload it in a fresh process and prove it equal, and say what it costs."""
    from whatelse import opening, recipe
    from whatelse.artifacts import compress, costs, language

    recipe.parse(steps)
    compress.check_free(out)
    if json_file:
        probe(json_file)
    also = tuple(kind for kind, wanted in (("onnx", onnx), ("pt2", pt2)) if wanted)
    task = opening.load_task(data)
    whole = opening.open_module(model, task, _chosen(weights, weights_key))
    task = language.read(whole, task, seed)
    compress.check_before(whole, steps, task, also, form)
    terminal = Console(stderr=True, quiet=quiet)
    with terminal.status("starting") as status:
        small = compress.compress(whole, steps, task, seed, lambda step: status.update(escape(step)), device)
        small, remarks = _formed(small, form)
        status.update("writing, and proving the copy equal in a fresh process")
        failed = compress.write(small, out, task, steps, seed, also)
        status.update("measuring both models in turn")
        written, told = costs.files(whole, small.model, out, task, also)
        found = written + costs.costs(whole, small.model, task, small.saved)
    warned = remarks + told + costs.warnings_of(found, small.model, task)
    record = costs.record(small, found, warned)
    if json_file:
        write(json_file, json.dumps(record, indent=1, allow_nan=False) + "\n")
    _say(record, "" if quiet or json_file == "-" else str(out), terminal)
    for reason in failed.values():
        raise ArtifactError(f"{out} is written and proven; {reason}")


def _say(record: dict[str, Any], out: str, terminal: Console) -> None:
    """Print what a model costs and where it is, unless nothing is to be printed, and whatever there is to warn of."""
    if out:
        from whatelse.artifacts.compress import AFRESH
        from whatelse.artifacts.folder import RECORD
        from whatelse.report.costs import print_costs

        print_costs(record, Console())
        near = json.loads(Path(out, RECORD).read_text("utf-8"))["proof"][AFRESH]
        terminal.print(f"written: {out}, reloaded in a fresh process, outputs equal {near}", highlight=False)
    for line in record["warnings"]:
        sys.stderr.write(f"warning: {line}\n")


def _formed(small: Compressed, form: str) -> tuple[Compressed, list[str]]:
    """Return a model in the form in which it is written, and a line on that where a reader might think otherwise."""
    from whatelse.artifacts import compress, pack_quantized

    if form == "whatelse":
        return small, []
    try:
        made = compress.as_codes(small) if form == pack_quantized.NAME else compress.as_floats(small)
    except ArtifactError as error:
        if form:
            raise
        return small, [f"written as a folder that whatelse alone opens: {error}"]
    if set(made.model.state_dict()) != set(small.model.state_dict()):
        return made, [
            "smaller layers are written as whole matrices of floats; --format whatelse keeps them as they are"
        ]
    return made, []


def _chosen(weights: str, key: str) -> str:
    """Return weights by the name that checkpoints take: the file, and behind a colon which of several in it."""
    if key and not weights:
        raise ArtifactError(f"--weights-key {key}: it names weights in a file; give --weights FILE too")
    return f"{weights}:{key}" if key else weights
