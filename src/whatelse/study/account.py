"""What a run of a plan took, and what must be said of the results that it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from whatelse.findings.record import Findings, Timing
from whatelse.store import seal
from whatelse.store.folder import key
from whatelse.store.protocol import Store
from whatelse.study import run
from whatelse.study.jobs import Plan
from whatelse.study.run import Progress

KINDS = ("training", "compressing", "measuring", "analyzing")
DAMAGED = "damaged_and_made_again"


def timing(todo: Plan, store: Store, progress: Progress, wall: float) -> tuple[str, Timing]:
    """Return when the work ended and the seconds spent over all calls that did some of it.

    A call that found everything done adds nothing, and its findings are the same bytes. Where kept files were damaged
    and made again, their number stands beside.

    Args:
        todo: All work.
        store: Where results are kept.
        progress: What this call did.
        wall: Seconds of this call.
    """
    name = key("timing", 1, {}, *(e.key for e in todo.effects), seed=0)
    spent: dict[str, Any] = {"ended": "", "wall_s": 0.0, **{f"{kind}_s": 0.0 for kind in KINDS}}
    if store.has("effects", name):
        spent |= store.load_record("effects", name)
    new = not spent["ended"]
    if progress.reports or new:
        spent["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        spent["wall_s"] += wall if progress.reports else 0.0
        for report in progress.reports:
            for kind in KINDS:
                spent[f"{kind}_s"] += getattr(report, kind)
    if store.damaged:
        spent[DAMAGED] = spent.get(DAMAGED, 0) + len(store.damaged)
    if progress.reports or store.damaged or new:
        store.save_record("effects", name, spent)
    return spent.pop("ended"), Timing(**spent)


def conclude(found: Findings, todo: Plan, store: Store, progress: Progress, known: Collection[str] = ()) -> Findings:
    """Return findings that say what was made elsewhere, and tell what was found damaged since the work was done.

    Args:
        found: The findings.
        todo: All work.
        store: Where results are kept.
        progress: Takes the remarks.
        known: Damage that was told before.
    """
    progress.remarks += run.told({name: why for name, why in store.damaged.items() if name not in known})
    others = _elsewhere(todo, store)
    if not others:
        return found
    progress.remarks.append(f"made elsewhere: {others}; another results folder has everything made here")
    return replace(found, environment=replace(found.environment, made_elsewhere=others))


def _elsewhere(todo: Plan, store: Store) -> str:
    """Return how many results another release or machine made, and which; empty where all were made with what is here.

    They are used: keys tell apart what gives other numbers on purpose. Digits behind the point may still differ.
    """
    kept = dict.fromkeys([*(k for job in todo.jobs for k in job.kept()), *(k for e in todo.effects for k in e.kept())])
    made = [found for k in kept if (found := store.origin(*k)) is not None]
    processes = seal.here()
    others = Counter(found for found in made if found != processes).most_common()
    return "; ".join(f"{count} of {len(made)} results ({_unlike(found, processes)})" for found, count in others)


def _unlike(found: seal.Origin, here: seal.Origin) -> str:
    pairs = ((f.name, getattr(found, f.name), getattr(here, f.name)) for f in fields(seal.Origin))
    return ", ".join(f"{name} {there} where here is {mine}" for name, there, mine in pairs if there != mine)
