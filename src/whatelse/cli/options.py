"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any

import typer

from whatelse import limits, registry, surfaces
from whatelse.cli import complete
from whatelse.registry import Kind

# What the user says of the data, by the name of the option.
Told = Mapping[str, str | int]
# What was given for every option of `with_preparation`, by its name.
Asked = Mapping[str, list[str]]
# Where each surface that was asked for writes to, by its name.
Files = Mapping[str, str]
KEPT = "whatelse-results"


def _hold(context: typer.Context, given: str) -> str:
    """Let the limit that is given hold until the command ends."""
    context.with_resource(limits.within(given))
    return given


def _take_up(given: list[str] | None) -> list[str]:
    """Take up the items of files that the user names: they are his own, and nobody else's file is run."""
    for place in given or ():
        registry.add(place)
    return given or []


Items = Annotated[
    list[str] | None,
    typer.Option(
        "--items",
        metavar="FILE",
        help="Take up items of your own, as new writes them: a file, or a folder for all in it; may be repeated.",
        callback=_take_up,
    ),
]
_KEEPS = "Where finished cells are kept and found again: a folder, or s3://BUCKET/PREFIX, gs://... for many machines."
Results = Annotated[str, typer.Option("--results", metavar="DIR", help=_KEEPS)]
On = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="ENGINE",
        help="Where jobs run: processes or inline (here), or ray.",
        autocompletion=complete.names("engines"),
    ),
]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Jobs at once; 0 for as many as cores.")]
Seeds = Annotated[
    str,
    typer.Option("--seeds", metavar="N", help="Seeds 0 to N - 1, or A-B with both ends, in place of the study's own."),
]
_WHERE = "Where torch modules are trained and compute, such as cuda; auto for what is there; or cpu."
Device = Annotated[str, typer.Option("--device", metavar="D", help=_WHERE)]
Full = Annotated[
    bool,
    typer.Option("--full", help="Also what the study marks full, and its full settings; needs whatelse[methods]."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what is left to do and what it will cost.")]
Copy = Annotated[str, typer.Option("--copy", metavar="FILE", help="Only write the study file.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")]
_ALLOWED = "What opening a file may take, such as 8G [2G, or 16 times the file]."
Memory = Annotated[str, typer.Option("--max-memory", metavar="SIZE", help=_ALLOWED, callback=_hold)]
_EXAMPLES = "Also show single examples, such as those harmed or exposed most: rows of people."
ShowExamples = Annotated[bool, typer.Option("--show-examples", help=_EXAMPLES)]
_OF_DATA: Mapping[str, tuple[str, str]] = {
    "target": ("COLUMN", "The column of classes."),
    "text": ("COLUMN", "The column of texts, for models that read: each by its own tokenizer."),
    "groups": ("LIST", "Columns that make groups, such as sex,race,age:25,40,60,age:q4,sex*race."),
    "members": ("DATA", "What the models were trained on, for questions that need it."),
    "cluster": ("COLUMN", "Whose rows these are, such as patient_id: intervals draw whole persons."),
    "split": ("NAME", "The part that verdicts are given on; test: the models were trained on none of the rows."),
    "limit": ("N", "Largest number of examples of each split."),
    "bounds": ("LOW,HIGH", "Smallest and largest value that an input may take."),
    "leave_out": ("LIST", "Columns that the models do not see."),
    "scale": ("HOW", "standard, or none for numbers as they stand; auto: standard where there are rows of train."),
    "classes": ("LIST", "Names of the classes, in the order of the models' outputs."),
}
_OF_MODELS: Mapping[str, tuple[str, str]] = {
    "resize": ("HxW", "Images are interpolated to this size."),
    "pixels": ("KIND", "unit, or bytes for 0 to 255, or uint8."),
    "mean": ("LIST", "Subtracted, for each channel or column."),
    "std": ("LIST", "Divided by, likewise."),
    "channels": ("ORDER", "RGB or BGR."),
    "layout": ("ORDER", "NCHW or NHWC."),
}
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table; errors only.")]


def with_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say what data hold, in place of its parameter ``told``.

    They are settings of whichever loader opens the data (`whatelse.opening.data_text`).

    Args:
        command: Takes ``told``: the options that were given, by their names.
    """

    @wraps(command)
    def called(**given: Any) -> None:  # noqa: ANN401 - of every option its own type
        told = {name: given.pop(name) for name in _OF_DATA}
        command(**given, told={name: value for name, value in told.items() if value})

    added = []
    for name, (metavar, help_) in _OF_DATA.items():
        kind: Any = int if metavar == "N" else str
        option = typer.Option(
            f"--{name.replace('_', '-')}", metavar=metavar, help=help_, rich_help_panel="What the data hold"
        )
        default = kind()
        added.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        )
    return _with(command, called, "told", added)


def with_preparation(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say what models want done to inputs, in place of its parameter ``prepared``.

    Args:
        command: Takes ``prepared``: of every option the values that were given (`whatelse.models.preparation.read`).
    """

    @wraps(command)
    def called(**given: Any) -> None:  # noqa: ANN401 - of every option its own type
        command(prepared={name: given.pop(name) or [] for name in _OF_MODELS}, **given)

    panel = "What models want done to their inputs: VALUE for all, MODEL=VALUE for one"
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                list[str] | None, typer.Option(f"--{name}", metavar=metavar, help=help_, rich_help_panel=panel)
            ],
        )
        for name, (metavar, help_) in _OF_MODELS.items()
    ]
    return _with(command, called, "prepared", added)


def _with(
    command: Callable[..., None], called: Callable[..., None], name: str, added: list[inspect.Parameter]
) -> Callable[..., None]:
    """Return a command whose signature has others in place of one parameter."""
    signature = inspect.signature(command, eval_str=True)
    parts = [(added if one.name == name else [one]) for one in signature.parameters.values()]
    called.__signature__ = signature.replace(parameters=[one for some in parts for one in some])  # type: ignore[attr-defined] # what typer reads
    return called


def with_files(kind: Kind, **usual: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command an option for every surface, in place of its parameter ``files``.

    Args:
        kind: Of the surfaces: ``surfaces`` for findings, ``gate_surfaces`` for a decision, ``search_surfaces``.
        usual: Where a surface writes to if nothing else is asked, by its name.
    """
    options = {f"{name}_file": (name, told) for name, told in surfaces.written(kind).items()}

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**given: Any) -> None:  # noqa: ANN401 - of every option its own type
            files = {name: given.pop(parameter) for parameter, (name, _) in options.items()}
            command(**given, files={name: file for name, file in files.items() if file})

        added = [
            inspect.Parameter(
                parameter,
                inspect.Parameter.KEYWORD_ONLY,
                default=usual.get(name, ""),
                annotation=Annotated[str, typer.Option(f"--{name.replace('_', '-')}", metavar="FILE", help=told)],
            )
            for parameter, (name, told) in options.items()
        ]
        return _with(command, called, "files", added)

    return decorated
