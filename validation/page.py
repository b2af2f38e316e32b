"""The page that says whether verdicts can be trusted, from what was measured; and which promises are broken."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import page_language
import planted
import torch
from peeking import RULES
from scipy.stats import binomtest

import whatelse

Rows = list[dict[str, Any]]
HARM = {"improved", "worsened", "not trusted", "failed"}
FLAGGED = {h.name for h in planted.HARMS if h.flagged}
_LEVEL, _POWER, _MOST = 0.05, 0.8, 0.07
_EXACT = {"parameters", "bytes", "multiply-accumulates"}


def share(k: int, n: int) -> tuple[float, float, float]:
    """Return a share with its exact 95 % interval."""
    found = binomtest(k, n).proportion_ci(_CONFIDENCE, "exact")
    return k / n, float(found.low), float(found.high)


_CONFIDENCE = 0.95


def told(k: int, n: int) -> str:
    """Return a share as ``12 of 300: 4.0 % [2.1, 6.9]``."""
    rate, low, high = share(k, n)
    return f"{100 * rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def broken(found: dict[str, Rows]) -> list[str]:
    """Return every promise that the numbers exclude with 95 % confidence; nothing where all are kept."""
    lines = []
    for r in found.get("lossless", []):
        if _flagged(r) and r["label"] not in _EXACT:
            lines.append(f"{r['copy']} of {r['net']}: {r['label']} is {r['verdict']}")
    twins = found.get("twins", [])
    if twins and share(sum(bool(r["flagged"]) for r in twins), len(twins))[1] > _LEVEL:
        lines.append("more than 5 % of the false candidates are flagged")
    for harm, at in detectable(found.get("planted", [])).items():
        if share(at["found"], at["n"])[2] < _POWER:
            lines.append(f"{harm}: found {at['found']} times of {at['n']} at size {at['size']}")
    for r in found.get("summaries", []):
        if r["answered"] and share(r["alarms"], r["answered"])[1] > _MOST:
            lines.append(f"{r['kind']} at n = {r['n']}: {told(r['alarms'], r['answered'])} false alarms")
    for r in found.get("peeking", []):
        if r["table"] == "null" and r[RULES[0]][1] > _LEVEL:
            lines.append(f"looking again and again at {r['kind']}: {r[RULES[0]][0]:.1%} false alarms")
    lines += [
        f"{r['model']}: {r['behaviour']} of a baseline held against itself is {r['verdict']}, the gate says {r['gate']}"
        for r in found.get("floors", [])
        if r["verdict"] != "not measurable" or r["gate"] == "GO"
    ]
    lines += page_language.broken(found.get("language", []))
    lines += _broken_to_few(found.get("few", []))
    lines += [
        f"{told(k, n)} of the searches that open test end in a model that breaks a budget: {world}"
        for world, k, n in _confirmed(found.get("search", []))
        if share(k, n)[1] > _LEVEL
    ]
    lines += [f"the gate passes {r}" for r in found.get("wald", []) if r["ours"] > _LEVEL]
    lines += [
        f"{r['study']}, {r['label']}: {r['opposed']} verdicts turned"
        for r in found.get("savings", [])
        if r.get("opposed")
    ]
    return lines


def _flagged(row: dict[str, Any]) -> bool:
    return row["verdict"] in HARM and not row["excused"]


def _broken_to_few(rows: Rows) -> list[str]:
    null = [r for r in rows if r["kind"] == "null"]
    passed = [r for r in rows if r["kind"] == "harm" and r["size"] == 1 and not r["kept"]]
    lines = list(dict.fromkeys(f"a {r['what']} of {r['n']} that is lost keeps no GO away" for r in passed))
    if null and share(sum(bool(r["exceeded"]) for r in null), len(null))[1] > _LEVEL:
        lines.append("more than 5 % of harmless candidates have a group or class that is called harmed")
    return lines


def _confirmed(rows: Rows) -> list[tuple[str, int, int]]:
    """Return, by world, in how many searches the answer breaks a budget, of those that opened test."""
    worlds = dict.fromkeys(r["world"] for r in rows)
    opened = {world: [r for r in rows if r["world"] == world and r["opened"]] for world in worlds}
    return [
        (world, sum(bool(r["confirmed breaks"]) for r in mine), len(mine)) for world, mine in opened.items() if mine
    ]


def sizes(rows: Rows) -> dict[str, list[dict[str, Any]]]:
    """Return, by harm, what was found at every size, mild to strong as the effect has it."""
    out: dict[str, list[dict[str, Any]]] = {}
    for harm in dict.fromkeys(r["harm"] for r in rows):
        for size in dict.fromkeys(r["size"] for r in rows if r["harm"] == harm):
            mine = [r for r in rows if r["harm"] == harm and r["size"] == size]
            effect, least = (_mean(r.get(k) for r in mine) for k in ("effect", "detectable"))
            said: dict[str, int] = {}
            for row in (row for r in mine for row in r["said"]):
                said[row] = said.get(row, 0) + 1
            counts = {k: sum(bool(r[k]) for r in mine) for k in ("found", *planted.PEERS)}
            out.setdefault(harm, []).append(
                {
                    "size": size,
                    "n": len(mine),
                    "finder": mine[0]["finder"],
                    "effect": effect,
                    "detectable": least,
                    **counts,
                }
                | {"said": said, "refused": sum(bool(r["refused"]) for r in mine)}
            )
    return out


def detectable(rows: Rows) -> dict[str, dict[str, Any]]:
    """Return, by harm, what was found at the smallest size whose effect is the detectable one, or more.

    A harm that is flagged (a masked gradient, a broken artefact) has no such size: all are taken together.
    """
    out = {}
    for harm, each in sizes(rows).items():
        if harm in FLAGGED:
            out[harm] = {
                **each[-1],
                **{k: sum(s[k] for s in each) for k in ("n", "found", *planted.PEERS)},
            }
            out[harm]["size"] = "all"
            continue
        large = [s for s in each if abs(s["effect"]) >= s["detectable"]]
        if large:
            out[harm] = large[0]
    return out


def _mean(numbers: Iterable[float | None]) -> float:
    known = [n for n in numbers if n is not None]
    return float(np.mean(known)) if known else math.nan


def write(found: dict[str, dict[str, Any]], root: Path) -> None:
    """Write docs/validation.md and docs/validation.png."""
    rows = {name: stage["rows"] for name, stage in found.items()}
    draw(sizes(rows["planted"]), root / "docs" / "validation.png")
    parts = [
        _head(found, rows),
        _nothing(rows),
        _everything(rows),
        page_language.section(rows["language"]),
        _few(rows),
        _small(rows),
        _floors(rows),
        _summaries(rows),
        _looks(rows),
        _searches(rows),
        _assurance(root),
    ]
    (root / "docs" / "validation.md").write_text("\n\n".join(parts) + "\n", "utf-8")


def _table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    every = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in every)


def _head(found: dict[str, dict[str, Any]], rows: dict[str, Rows]) -> str:
    twins = rows["twins"]
    alarms = sum(bool(r["flagged"]) for r in twins)
    behaviours = [r for r in rows["lossless"] if r["label"] not in _EXACT]
    flagged = sum(map(_flagged, behaviours))
    at = detectable(rows["planted"])
    least = min(at.items(), key=lambda pair: pair[1]["found"] / pair[1]["n"])
    names = [h.name for h in planted.HARMS]
    minutes = sum(stage["seconds"] for stage in found.values()) / 60
    lines = [
        "# Can the verdicts be trusted?",
        "A tool that says *worsened* about nothing, or *unchanged* about a harm, is worse than none. So both are measured, on "
        "the code that studies and audits run, and this page is written by `make validate` "
        f"({minutes:.0f} minutes on {torch.get_num_threads() and 2} cores; whatelse {whatelse.__version__}, "
        f"torch {torch.__version__.split('+')[0]}, Python {platform.python_version()}). Brackets are exact 95 % intervals.",
        f"- **Quiet on nothing.** {flagged} of {len(behaviours)} verdicts on copies that compute the same are flagged. Of "
        f"{len(twins)} networks that were merely trained again and passed off as compressed, "
        f"{told(alarms, len(twins))} are flagged by any of {len(planted.ASKED)} gated questions (nominal: 5 %).",
        f"- **Sees everything.** {len(at)} of {len(names)} planted harms were tried at the effect that the report calls "
        f"detectable, or the next larger size; the least often found is *{least[0]}*: {told(least[1]['found'], least[1]['n'])}.",
        "- **Says what it does not know.** Ten examples without a flip pass no gate; looking again and again costs no false "
        "alarms; a summary whose interval would miss the truth is *not trusted*.",
        "- **Ends in what it says.** "
        + "; ".join(f"{world} worlds: {told(k, n)}" for world, k, n in _confirmed(rows["search"]))
        + " of the models that a search confirms break a budget (nominal: at most 5 %).",
    ]
    lines += [f"- **Not reached**: {line}." for line in broken(rows)]
    return "\n\n".join([*lines[:2], "\n".join(lines[2:])])


def _nothing(rows: dict[str, Rows]) -> str:
    lossless, twins = rows["lossless"], rows["twins"]
    table = []
    for net in dict.fromkeys(r["net"] for r in lossless):
        for copy in dict.fromkeys(r["copy"] for r in lossless if r["net"] == net):
            mine = [r for r in lossless if r["net"] == net and r["copy"] == copy and r["label"] not in _EXACT]
            count = {v: sum(r["verdict"] == v for r in mine) for v in ("unchanged", "inconclusive", "not measurable")}
            flagged = [r["label"] for r in mine if _flagged(r)]
            table.append([net, copy, f"{mine[0]['off']:.0e}", *count.values(), ", ".join(flagged) or "0"])
    alarms, raw = (sum(bool(r[k]) for r in twins) for k in ("flagged", "uncorrected"))
    peers = [sum(r[k] for r in twins) for k in ("accuracy_only", "wald")]
    by = {row: sum(row in r["flagged"] for r in twins) for row in planted.ASKED}
    return "\n\n".join(
        [
            "## Quiet on nothing",
            "Digits, the default questions of `whatelse audit`. *Off* is the largest difference of any output. What needs the "
            "baseline's basis says *not measurable* of permuted units. Exact costs are left out: a network with its batch norm "
            "folded really has fewer parameters. Of rescaled scores two things are told and not counted: likelihood and "
            "calibration, which are about the scale, and that attacks on the cross-entropy would be misled.",
            _table(["network", "copy", "off", "unchanged", "inconclusive", "not measurable", "flagged"], table),
            f"**Twins as false candidates.** {len(twins)} times a method that does nothing but train again, over five seeds, is "
            f"held against a placebo that does the same; every time with other networks and other test examples. Flagged by any "
            f"of the {len(by)} gated questions, corrected by Holm: **{told(alarms, len(twins))}**. The same p values uncorrected: "
            f"{told(raw, len(twins))}. Peers, of one pair of the same networks: a drop of a point is found in {told(peers[0], len(twins))}, "
            f"a Wald interval without 0 in {told(peers[1], len(twins))}, of accuracy alone. By question: "
            + ", ".join(f"{row} {k}" for row, k in by.items())
            + ".",
        ]
    )


def _everything(rows: dict[str, Rows]) -> str:
    every, at = sizes(rows["planted"]), detectable(rows["planted"])
    table = []
    for harm, one in at.items():
        n = one["n"]
        peers = (
            ["-"] * len(planted.PEERS)
            if harm in FLAGGED and one["refused"]
            else [told(one[k], n) for k in planted.PEERS]
        )
        if math.isnan(one["effect"]) or harm in FLAGGED:
            size = ["all sizes", "-"]
        else:
            size = [f"{one['effect']:+.4f}", f"{one['detectable']:.4f}"]
        table.append([harm, one["finder"], *size, f"**{told(one['found'], n)}**", *peers])
    curves = [
        [harm, f"{s['size']:g}", f"{s['effect']:+.4f}", f"{s['detectable']:.4f}", told(s["found"], s["n"]), _also(s)]
        for harm, each in every.items()
        for s in each
    ]
    return "\n\n".join(
        [
            "## Sees everything",
            f"Harms of known size in a small network, {planted.N} fresh test examples each time, ten gated questions at once "
            "corrected by Holm. *Found* means *worsened* by the question that should find it; for masked gradients and broken "
            "artefacts, *not trusted* or refused. Beside it what peers would have said of the same models: **accuracy only** "
            f"(a drop of more than {planted.POINT * 100:g} point is a regression, as gates on scores have it), a **Wald interval** of "
            "the two accuracies (95 %, without 0), and an **unpaired test** at 5 % of the same behaviour, which takes the two "
            "models' examples for different ones.",
            _table(
                [
                    "harm",
                    "question",
                    "effect",
                    "detectable",
                    "found",
                    "accuracy only",
                    "Wald interval",
                    "unpaired test",
                ],
                table,
            ),
            "![Share of planted harms that are found against their effect in units of the detectable one](validation.png)",
            "<details><summary>Every size</summary>\n",
            _table(["harm", "size", "effect", "detectable", "found", "also flagged"], curves),
            "\n</details>",
        ]
    )


def _also(s: dict[str, Any]) -> str:
    others = {row: k for row, k in s["said"].items() if row != s["finder"]}
    return (f"refused {s['refused']}" if s["refused"] else "") + ", ".join(f"{row} {k}" for row, k in others.items())


def _few(rows: dict[str, Rows]) -> str:
    harms, null = ([r for r in rows["few"] if r["kind"] == kind] for kind in ("harm", "null"))
    table = []
    for what, n, size in dict.fromkeys((r["what"], r["n"], r["size"]) for r in harms):
        mine = [r for r in harms if (r["what"], r["n"], r["size"]) == (what, n, size)]
        decided = [told(sum(r["decision"] == d for r in mine), len(mine)) for d in ("exceeded", "undecided")]
        verdicts = [sum(r["verdict"] == v for r in mine) for v in ("GO", "INCONCLUSIVE", "NO-GO")]
        blind = told(sum(r["accuracy_only"] for r in mine), len(mine))
        table.append([what, n, f"{size:.0%}", f"{_mean(r['harm'] for r in mine):.2f}", *decided, *verdicts, blind])
    alarms, asked = sum(bool(r["exceeded"]) for r in null), sum(r["asked"] for r in null)
    raw = sum(r["uncorrected"] > 0 for r in null)
    return "\n\n".join(
        [
            "## Harm to a few",
            "A group or a class of which the test split has only so many examples, a share of whose answers is made wrong; the "
            "default questions and the default budgets (two points). *Exceeded* and *undecided* are what the gate says of that "
            "group or class by itself, by its own exact bounds and corrected over all questions; then the gate's verdict, and "
            "how often accuracy alone fell by a point.",
            _table(
                ["to a", "examples", "lost", "harm", "exceeded", "undecided", "GO", "INCONCLUSIVE", "NO-GO"]
                + ["accuracy only"],
                table,
            ),
            f"**False alarms.** {len(null)} candidates that change one answer in fifty, of whomever, each with a group or class "
            f"that is small, {asked} questions: **{told(alarms, len(null))}** have one that is called harmed beyond its budget "
            f"(nominal: 5 %); uncorrected {told(raw, len(null))}.",
        ]
    )


def _small(rows: dict[str, Rows]) -> str:
    table = [[f"{r['rate']:.0%}", r["n"], f"{r['wald']:.3f}", f"{r['ours']:.3f}"] for r in rows["wald"]]
    return "\n\n".join(
        [
            "## Few examples",
            "The chance that a gate with a budget of one point lets a model pass that harms this share of all examples and heals "
            "none, enumerated exactly. Wald's interval is a point where nothing flipped; `whatelse gate` decides on exact bounds "
            "(299 examples without a flip keep a budget of one point).",
            _table(["true harm", "n", "Wald's interval", "whatelse gate"], table),
        ]
    )


def _floors(rows: dict[str, Rows]) -> str:
    told = [
        [r["model"], r["behaviour"], "-" if r["before"] is None else f"{r['before']:.3g}", r["verdict"], r["gate"]]
        for r in rows["floors"]
    ]
    return "\n\n".join(
        [
            "## Nothing left to lose",
            "A baseline that has nothing left to lose, or of which nothing is seen, held against itself: every candidate would "
            "be equivalent to it, so that *unchanged* would be a reassurance about nothing.",
            _table(["baseline", "question", "its number", "verdict", "gate"], told),
        ]
    )


def _summaries(rows: dict[str, Rows]) -> str:
    table = []
    kinds = list(dict.fromkeys(r["kind"] for r in rows["summaries"]))
    for r in sorted(rows["summaries"], key=lambda r: (kinds.index(r["kind"]), r["n"])):
        m, k = r["answered"], r["answered_moved"]
        if not m:
            table.append([r["kind"], f"`{r['item']}`", r["n"], *"-----", "-", "not measurable"])
            continue
        doubt = "not trusted" if r["biased"] > 1 else ""
        table.append(
            [
                r["kind"],
                f"`{r['item']}`",
                r["n"],
                told(r["alarms"], m),
                told(r["covered"], m),
                told(r["covered_moved"], k),
            ]
            + [f"{r['effect']:+.3f}", f"{100 * r['found'] / r['samples']:.0f} %", doubt]
        )
    return "\n\n".join(
        [
            "## Every kind of summary",
            f"{rows['summaries'][0]['samples']} samples a line, one seed, 1,000 resamples: type I error of the verdict at 5 %, "
            "coverage of the 95 % interval where nothing changed and where the effect is what stands there, and power against "
            "that effect. A summary that resampling moves by more than its standard error (an unsigned sum of biases) is *not "
            "trusted*: its interval would miss the truth, as its coverage shows. Groups of fewer than 30 examples are left out of the number.",
            _table(
                ["summary", "as in", "n", "type I", "covers, no effect", "covers, effect", "effect", "power", ""], table
            ),
        ]
    )


def _looks(rows: dict[str, Rows]) -> str:
    null = [r for r in rows["peeking"] if r["table"] == "null"]
    stop = [r for r in rows["peeking"] if r["table"] == "stopping"]
    alarms = [
        [r["kind"], *(f"{100 * r[x][0]:.1f} % [{100 * r[x][1]:.1f}, {100 * r[x][2]:.1f}]" for x in RULES)] for r in null
    ]
    ends = [
        [
            r["kind"],
            f"{r['effect']:g}",
            f"{r['margin']:g}",
            f"{r['median']:,.0f}",
            f"{r['most']:,.0f}",
            f"{r['planned']:,}",
        ]
        + [f"{r['cautious']:,}"]
        for r in stop
    ]
    saved = [
        [r["study"], r["label"], r["pairs"], f"{r['used']:,} of {r['of']:,}", f"{1 - r['used'] / r['of']:.0%}"]
        + [r["stopped"], r["lost"], r["opposed"]]
        for r in rows["savings"]
        if r["pairs"]
    ]
    absent = [r["study"] for r in rows["savings"] if not r["pairs"]]
    left = f" Not measured here, as their results were not there: {', '.join(absent)}." if absent else ""
    return "\n\n".join(
        [
            "## Stops when it knows",
            f"`whatelse audit --stop` looks every hundred examples, under confidence sequences by betting. Simulated: looks every "
            f"20 examples up to {null[0]['examples']:,}, {null[0]['samples']:,} samples; share ever flagged where there is no effect:",
            _table(["differences", *RULES], alarms),
            "After how many examples a verdict is clear (median, 90 % quantile), beside the number that a plan with power .8 asks "
            "for that knows the effect, and one that is to find an effect as large as the margin. Looking does not beat a plan "
            "that knew; it saves where the effect is larger than was planned for:",
            _table(["differences", "effect", "margin", "median", "90 %", "planned", "planned for the margin"], ends),
            "On the shipped studies: their finished cells, every pair of a candidate and its control under every seed taken for "
            "an audit of two checkpoints. *Lost* are verdicts that all examples at a fixed number give and the sequence does "
            f"not; *turned* those where the two contradict each other.{left}",
            _table(
                ["study", "measurement", "pairs", "examples used", "saved", "stopped early", "lost", "turned"], saved
            ),
        ]
    )


_RULES = {
    "estimate": "the smallest whose estimates on select keep all budgets",
    "bound": "the smallest that the gate's bounds at 5 % pass on select",
    "aimed": "the smallest that is aimed at the confirmation, on select",
    "confirmed": "**confirmed on test, in fixed sequence: the answer of `whatelse search`**",
}


def _searches(rows: dict[str, Rows]) -> str:
    every, table = rows["search"], []
    for world in dict.fromkeys(r["world"] for r in every):
        mine = [r for r in every if r["world"] == world]
        for rule, said in _RULES.items():
            asked = [r for r in mine if r["opened"]] if rule == "confirmed" else mine
            answered = [r for r in asked if r[f"{rule} breaks"] is not None]
            k = sum(r[f"{rule} breaks"] for r in answered)
            times = [r[f"{rule} size"] / r["best"] for r in answered if r["best"] is not None]
            size = f"{np.median(times):.2f}" if times else "-"
            table.append([world, said, f"{len(answered)} of {len(asked)}", told(k, len(asked)) if asked else "-", size])
    return "\n\n".join(
        [
            "## A search ends in what it says",
            "Worlds of candidates whose every harm is known: accuracy, flips, log-likelihood, whose harm a few examples carry, "
            "and the accuracy of four groups, each with a budget. In *drawn* ones harm grows as size falls, unevenly; in the "
            "*least favorable* every candidate breaks one budget by next to nothing, so that whatever is answered is an error. "
            "Candidates err alike on hard examples; select "
            f"and test are drawn anew in each of {len(every) // len(dict.fromkeys(r['world'] for r in every))} searches. *Breaks* "
            "counts the answers that truly break a budget (nominal: at most 5 %; of the answer on test among the searches that "
            "open it), *size* is the median of the answer's size as a multiple of that of the smallest candidate that keeps all.",
            _table(["world", "picked", "answers", "breaks a budget", "size"], table),
        ]
    )


def _assurance(root: Path) -> str:
    claims = json.loads((root / "validation" / "assurance.json").read_text("utf-8"))
    lines = [
        [c["sentence"].replace("|", "\\|"), ", ".join(f"`{t}`" for t in c["tests"]) or f"*{c['why']}*"] for c in claims
    ]
    return "\n\n".join(
        ["## Every sentence of the README, and the test that holds it", _table(["the README says", "held by"], lines)]
    )


def draw(every: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw the power curves."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    harms = [h for h in every if h not in FLAGGED]
    figure, axes = plt.subplots(3, 4, figsize=(11, 6.6), sharex=True, sharey=True)
    for axis, harm in zip(axes.flat, harms, strict=False):
        each = sorted(every[harm], key=lambda s: abs(s["effect"]) / s["detectable"])
        x = [abs(s["effect"]) / s["detectable"] for s in each]
        ours = [share(s["found"], s["n"]) for s in each]
        axis.axvline(1, color="#bbb", lw=1)
        axis.axhline(_POWER, color="#bbb", lw=1)
        bars = np.array([[y - low, high - y] for y, low, high in ours]).T
        axis.errorbar(x, [y for y, _, _ in ours], yerr=bars, color="#1b5e9b", marker="o", ms=4, lw=1.6, capsize=2)
        for key, color, mark in (("accuracy_only", "#c0522b", "s"), ("unpaired", "#7a7a7a", "^")):
            axis.plot(x, [s[key] / s["n"] for s in each], color=color, marker=mark, ms=3.5, lw=1, ls="--")
        axis.set_title(harm, fontsize=9)
        axis.set_xlim(0, 3.2)
        axis.set_ylim(-0.04, 1.04)
        axis.tick_params(labelsize=8)
    rest = list(axes.flat[len(harms) :])
    for axis in rest:
        axis.axis("off")
    for color, mark, style, name in (
        ("#1b5e9b", "o", "-", "whatelse, by the right question"),
        ("#c0522b", "s", "--", "accuracy only, 1 point"),
        ("#7a7a7a", "^", "--", "unpaired test of the same"),
    ):
        rest[0].plot([], [], color=color, marker=mark, ls=style, label=name)
    rest[0].legend(loc="center", fontsize=8, frameon=False)
    figure.supxlabel("effect, in units of the one that the report calls detectable", fontsize=9)
    figure.supylabel("share found", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
