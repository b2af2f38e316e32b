"""Running a study for the command line, or saying what it would cost."""

from __future__ import annotations

from pathlib import Path

from whatelse.cli.files import hand_out, probe
from whatelse.cli.options import Files


def conduct(
    asked: tuple[str, str],
    files: Files,
    results: Path,
    place: tuple[str, int],
    *,
    full: bool,
    quiet: bool,
    show_examples: bool,
) -> None:
    """Run a study with a progress bar, and hand out what it found.

    Args:
        asked: Text of the study, and how messages call it.
        files: Where each surface writes to, by its name.
        results: Folder of the results.
        place: Name of the engine, and how many jobs at once.
        full: Also what the study marks full.
        quiet: Show nothing.
        show_examples: Also examples: rows of people.
    """
    from whatelse.study import run, spec
    from whatelse.study.bar import bar
    from whatelse.study.run_study import run_study

    study = spec.parse(*asked, tier="full" if full else "quick")
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


def foretell(asked: tuple[str, str], results: Path, place: tuple[str, int], *, full: bool) -> None:
    """Print what a study will cost.

    Args:
        asked: Text of the study, and how messages call it.
        results: Folder of the results.
        place: Name of the engine, and how many jobs at once.
        full: Also what the study marks full.
    """
    from whatelse.cli import progress
    from whatelse.study import run, spec
    from whatelse.study.run_study import dry_run

    run.check_engine(place[0])
    progress.foretell(dry_run(spec.parse(*asked, tier="full" if full else "quick"), results, place[1]))
