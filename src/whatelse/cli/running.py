"""Running a study for the command line, or saying what it would cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from whatelse.cli.files import hand_out, probe
from whatelse.cli.options import Files
from whatelse.errors import StudyError

if TYPE_CHECKING:
    from whatelse.study.spec import Study

_MOST = 10_000


def conduct(
    asked: tuple[str, str],
    files: Files,
    results: str,
    place: tuple[str, int, str],
    seeds: str,
    *,
    full: bool,
    quiet: bool,
    show_examples: bool,
) -> None:
    """Run a study with a progress bar, and hand out what it found.

    Args:
        asked: Text of the study, and how messages call it.
        files: Where each surface writes to, by its name.
        results: Folder or address of the results.
        place: Name of the engine, how many jobs at once, and the device; empty for the study's own.
        seeds: Those that are asked for in place of the study's own; empty for these.
        full: Also what the study marks full.
        quiet: Show nothing.
        show_examples: Also examples: rows of people.
    """
    from whatelse.study import run
    from whatelse.study.bar import bar
    from whatelse.study.run_study import run_study

    study = _study(asked, seeds, place[2], full=full)
    run.check_engine(place[0])
    probe(*files.values())
    with bar(quiet=quiet) as (show, announce):
        found = run_study(
            study,
            results,
            on=place[0],
            workers=place[1],
            show=show,
            announce=announce,
            show_examples=show_examples,
        )
    hand_out(found, files, quiet=quiet)


def foretell(asked: tuple[str, str], results: str, place: tuple[str, int, str], seeds: str, *, full: bool) -> None:
    """Print what a study will cost.

    Args:
        asked: Text of the study, and how messages call it.
        results: Folder or address of the results.
        place: Name of the engine, how many jobs at once, and the device; empty for the study's own.
        seeds: Those that are asked for in place of the study's own; empty for these.
        full: Also what the study marks full.
    """
    from whatelse.cli import progress
    from whatelse.study import run
    from whatelse.study.run_study import dry_run

    run.check_engine(place[0])
    progress.foretell(dry_run(_study(asked, seeds, place[2], full=full), results, place[1], place[0]))


def _study(asked: tuple[str, str], seeds: str, device: str, *, full: bool) -> Study:
    """Return a study with the seeds and the device that are asked for.

    Raises:
        StudyError: It cannot be read, or the seeds are none.
    """
    from whatelse.study import spec

    study = spec.parse(*asked, tier="full" if full else "quick")
    study = replace(study, seeds=_seeds(seeds)) if seeds else study
    return replace(study, device=device) if device else study


def _seeds(text: str) -> list[int]:
    first, dash, last = text.partition("-")
    if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
        found = range(0)
    else:
        found = range(int(first), int(last) + 1) if dash else range(int(first))
    if not 0 < len(found) <= _MOST:
        raise StudyError(f"--seeds {text!r}; give how many, 1 to {_MOST:,}, or two ends such as 32-63")
    return list(found)
