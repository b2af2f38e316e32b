"""Have atheris look for inputs that reach new lines of our readers; it is no part of the extra dev.

    pip install atheris
    python fuzz/guided.py [--minutes 10] [--only csv]

Every other place where reading fails is printed once; any makes the exit code 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings

import atheris

with atheris.instrument_imports(include=["whatelse"], enable_loader_override=False):
    import parsers


def main() -> None:
    """Run until the time is over; ends the process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", choices=parsers.doors(), help="one reader")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    doors = parsers.doors()
    names = [asked.only] if asked.only else list(doors)
    ends, counts, found = time.monotonic() + 60 * asked.minutes, dict.fromkeys(names, 0), dict[tuple[str, str], bytes]()

    def fed(held: bytes) -> None:
        if time.monotonic() > ends:
            print(f"{sum(counts.values())} inputs, {len(found)} places where reading fails: {counts}", flush=True)
            os._exit(int(bool(found)))
        name = names[held[0] % len(names)] if held else names[0]
        counts[name] += 1
        where = parsers.tried(doors[name], held[1:])
        if where and (name, where) not in found:
            found[name, where] = held
            print(f"  {name}: {where}: {held[1:121]!r}", flush=True)

    def changed(held: bytes, most: int, chance: int) -> bytes:
        """Begin with what is whole; change what is there after that."""
        if len(held) > 1 and chance % 50:
            return bytes(atheris.Mutate(held, most))
        at = chance // 50 % len(names)
        return bytes([at]) + doors[names[at]].whole

    atheris.Setup([sys.argv[0], "-max_len=8192", "-rss_limit_mb=6144"], fed, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
