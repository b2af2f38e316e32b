"""Have hypothesis draw what everything is fed that reads: whole inputs changed at some places, texts, plain data.

    python fuzz/draw.py [--minutes 10] [--only csv] [--seed 0] [--keep FOLDER]

Prints how many inputs each reader was given and every other place where one failed. Any makes the exit code 1, and its
smallest input is kept in a folder.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import sys
import time
import warnings
from pathlib import Path

import parsers
from _mutate import VALUES, plain, raw, text
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

_EACH = 200  # inputs of a reader before the next has its turn


def inputs(door: parsers.Door) -> st.SearchStrategy[bytes]:
    """Return what a reader is fed.

    Args:
        door: It.
    """
    seeds = st.integers(0, 2**32).map(random.Random)
    ways = [st.binary(max_size=60), st.text(max_size=60).map(str.encode), seeds.map(lambda rng: raw(door.whole, rng))]
    try:
        said = door.whole.decode()
        ways.append(seeds.map(lambda rng: text(said, rng).encode("utf-8", "replace")))
        data = json.loads(said)
        ways.append(seeds.map(lambda rng: json.dumps(plain(data, rng)).encode()))
        leaves = st.sampled_from(VALUES)
        names = st.sampled_from([*data, "x"])
        drawn = st.recursive(
            leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
        )
        ways.append(drawn.map(lambda held: json.dumps(held).encode()))
    except (ValueError, TypeError):
        pass
    return st.one_of(ways)


def main() -> int:
    """Run until the time is over, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", choices=parsers.doors(), help="one reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", default="fuzz-found", help="folder for inputs that fail")
    asked = parser.parse_args()
    faulthandler.enable()  # where a library ends the process, its stack is said
    warnings.simplefilter("ignore")
    until, doors = time.monotonic() + 60 * asked.minutes, parsers.doors()
    doors = {asked.only: doors[asked.only]} if asked.only else doors
    counts, found, turn = dict.fromkeys(doors, 0), dict[tuple[str, str], bytes](), asked.seed
    while time.monotonic() < until:
        for name, door in doors.items():
            _turn(name, door, turn, until, counts, found)
        turn += 1
    for name, count in counts.items():
        print(f"{name:14}{count:>9} inputs")
    print(f"{sum(counts.values())} inputs, {len(found)} places where reading fails")
    for at, ((name, where), held) in enumerate(sorted(found.items())):
        Path(asked.keep).mkdir(exist_ok=True)
        (Path(asked.keep) / f"{at}-{name}").write_bytes(held)
        print(f"  {name}: {where}: {held[:120]!r}")
    return int(bool(found))


def _turn(
    name: str,
    door: parsers.Door,
    turn: int,
    until: float,
    counts: dict[str, int],
    found: dict[tuple[str, str], bytes],
) -> None:
    """Feed one reader some inputs; the smallest that fails at a place stands for it."""

    @seed(turn)
    @settings(max_examples=_EACH, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs(door))
    def fed(held: bytes) -> None:
        if time.monotonic() > until:
            return
        counts[name] += 1
        where = parsers.tried(door, held)
        if where and len(held) < len(found.get((name, where), held + b" ")):
            found[name, where] = held
            print(f"  {name}: {where}", flush=True)

    fed()


if __name__ == "__main__":
    sys.exit(main())
