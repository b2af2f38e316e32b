"""What an attack rebuilt of inputs from the baseline and from the candidates, beside the inputs."""

from __future__ import annotations

from collections.abc import Iterator

from whatelse.exhibits.asked import BASELINE, Asked
from whatelse.exhibits.pictures import picture, pictured
from whatelse.findings.exhibits import Exhibit, Picture

VERSION, SCOPE = 1, "row"
SHOWN = 4


def exhibits(asked: Asked) -> Iterator[Exhibit]:
    """Return one exhibit for every model of which pictures were rebuilt.

    Args:
        asked: A question whose answers keep under ``rebuilt`` what was ``shown`` and what was ``made`` of it.

    Yields:
        Those of the baseline and of every candidate, if the baseline has one.
    """
    if not asked.of_test or not pictured(asked.task) or not asked.shown(BASELINE, "rebuilt"):
        return
    for name in asked.models:
        kept, answer = asked.shown(name, "rebuilt"), asked.answer_of(name, asked.seeds[0])
        if answer is None or not kept:
            continue
        values = answer[next(iter(answer.columns))]
        yield Exhibit(
            row=asked.measurement.row,
            kind="reconstruction",
            task=asked.task_name,
            candidate=name,
            title=f"rebuilt from the gradient of {'the baseline' if name == BASELINE else name}",
            items=tuple(
                Picture(
                    index=i,
                    image=picture(kept["shown"][i], asked.task),
                    reconstruction=picture(kept["made"][i], asked.task),
                    note=f"{float(values[i]):.0f} {asked.behaviour.unit}",
                )
                for i in range(min(SHOWN, len(kept["made"])))
            ),
        )
