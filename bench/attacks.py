"""Hold the accuracy under attack against ART, foolbox and torchattacks: who finds more, and in which time.

    python bench/attacks.py [--quick]

Small networks, trained as usual and against attacks: a CNN on digits; where $WHATELSE_DATA (default ../shared/data) has
them, a CNN on Fashion-MNIST and the published ResNet-20 on CIFAR-10. Each is attacked in both norms with the same
radius, gradient steps and queries by `robustness.accuracy` and by every attack of the tools; their points are
looked at again here: inside the ball and the bounds, and the model wrong there. Seconds are those of the processor,
one thread, ours and theirs in turn; passes are counted by a module around the network. Ours has two starts at either
strength, the attacks of the tools two each, AutoAttack of torchattacks one. Then points that were planted,
a linear network whose answer is known, and networks on which attacks with gradients fail.

The tools are no dependency; one that is missing is left out:
    pip install -c constraints.txt adversarial-robustness-toolbox multiprocess foolbox   (MIT, BSD, MIT)
    pip install --no-deps torchattacks   (MIT; with its dependencies it brings torchvision and an old requests)
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field, fields, replace

import torch
from _peers import networks
from _peers.attacks import TOOLS, Budget, Counter, Found, Target, Tool, checked, interval, run
from _peers.networks import Case
from torch import Tensor, nn

from whatelse import items
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import subject
from whatelse.tasks.task import Split, Task

NORMS = {"linf": "Linf", "l2": "L2"}
SETTINGS = {f.name for f in fields(items.behaviour("robustness.accuracy").config)}
STRENGTHS = ("standard", "quick")
THIRD = 1 / 3
OWN, POOLED = "own with Square", "pooled"  # columns of what accuracy answers


@dataclass
class Verdicts:
    """What held and what did not, over all comparisons of each strength."""

    weaker: dict[str, list[str]] = field(default_factory=lambda: {strength: [] for strength in STRENGTHS})
    slower: dict[str, list[str]] = field(default_factory=lambda: {strength: [] for strength in STRENGTHS})
    asked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STRENGTHS, 0))


def main() -> None:
    """Compare on every network, then on those whose answer is known."""
    quick = "--quick" in sys.argv[1:]
    torch.set_num_threads(1)
    tools = {name: tool for name, tool in TOOLS.items() if not tool.missing()}
    for name in TOOLS.keys() - tools.keys():
        print(f"{name} is left out: pip install {TOOLS[name].install}")
    started, verdicts = time.perf_counter(), Verdicts()
    for case in networks.cases(quick=quick):
        for budget in case.budgets:
            if budget.norm == "linf" or "norm" in SETTINGS:
                compared(case, budget, tools, verdicts)
            else:
                print(f"\n{case.name}, {NORMS[budget.norm]}: left out, ours has no such norm")
    linear(tools)
    planted(tools, 10 if quick else 40)
    flagged(tools, quick=quick)
    print(f"\nAll in {time.perf_counter() - started:.0f} s")
    for strength in STRENGTHS:
        print(f"ours, {strength}: {verdicts.asked[strength]} comparisons with all that a tool offers")
        print(f"  finds less than: {'; '.join(verdicts.weaker[strength]) or 'none'}")
        print(f"  takes more than a third of the time of: {'; '.join(verdicts.slower[strength]) or 'none'}")


# Strength and time ------------------------------------------------------------------------------------------------


def compared(case: Case, budget: Budget, tools: dict[str, Tool], verdicts: Verdicts) -> None:
    """Print what everybody finds on a network in a norm, and in which time.

    Args:
        case: The network, and the examples.
        budget: How hard all may try.
        tools: Those that are installed.
        verdicts: Takes what did not hold.
    """
    target, n = case.target, len(case.target.labels)
    clean = float(checked(target, target.inputs, replace(budget, radius=1.0))[0].float().mean())
    print(
        f"\n{case.name}; {NORMS[budget.norm]} radius {budget.radius:.3g}, {budget.steps} steps, {budget.restarts} "
        f"starts, {budget.queries} queries; {n} examples, accuracy {clean:.3f}, medians of {case.repeats} in turn"
    )
    print(f"  {'':32} robust   95 % interval  seconds  forward backward  outside   passes an example")
    seen: dict[str, list[Found]] = {name: [] for name in (*STRENGTHS, *tools)}
    for _ in range(case.repeats):
        for strength in STRENGTHS:
            seen[strength].append(ours(target, budget, strength))
        for name, tool in tools.items():
            seen[name].append(run(tool.whole, target, budget))
    line("ours, standard", seen["standard"])
    line("ours, quick", seen["quick"])
    line(f"ours, {case.pooled}", [ours(target, budget, "standard", case.other)])
    worst: dict[str, Tensor] = {}
    for name, tool in tools.items():
        line(f"{name} {tool.together}", seen[name])
        worst[name] = seen[name][0].robust.clone()
        for member, attack in tool.members.items() if case.members else ():
            if member != "DDN" or budget.norm == "l2":
                found = run(attack, target, budget)
                line(f"  {member}", [found])
                worst[name] &= found.robust
        line(f"  worst case of all {name}", [replace(seen[name][0], robust=worst[name])], passes=False)
    for name in tools:
        where = f"{name} {tools[name].together} ({case.name}, {NORMS[budget.norm]})"
        judged(where, seen, name, worst[name], verdicts)


def line(name: str, found: list[Found], *, passes: bool = True) -> None:
    """Print what one attack found.

    Args:
        name: Of the attack.
        found: In every repeat; numbers are those of the first, seconds the median.
        passes: Print time and passes too.
    """
    first = found[0]
    n, hits = len(first.robust), int(first.robust.sum())
    low, high = interval(hits, n)
    text = f"  {name:32} {first.share():.3f}  [{low:.3f}, {high:.3f}]"
    if passes:
        seconds = statistics.median(f.seconds for f in found)
        text += f" {seconds:8.2f} {first.forward:8.1f} {first.backward:8.1f} {first.outside:8}"
    print(text)
    for told in first.said if name.startswith("ours") else ():
        print(f"      doubted: {told}")


def judged(where: str, seen: dict[str, list[Found]], name: str, worst: Tensor, verdicts: Verdicts) -> None:
    """Print both verdicts on each strength against one tool.

    Args:
        where: Tool, network and norm.
        seen: Ours at both strengths, and all attacks of the tool together, in every repeat.
        name: Of the tool.
        worst: Whether each example withstood them, and each attack alone too.
        verdicts: Takes what did not hold.
    """
    most = int(worst.sum())
    print(f"  against {name}: {int(seen[name][0].robust.sum())} stand its attacks together, {most} at worst")
    for strength in STRENGTHS:
        robust = seen[strength][0].robust
        ratios = [a.seconds / b.seconds for a, b in zip(seen[strength], seen[name], strict=True)]
        ratio, left = statistics.median(ratios), int(robust.sum())
        strong, fast = left <= most, ratio <= THIRD
        only = (robust & ~worst).nonzero().flatten().tolist()
        print(
            f"    {strength:8}: {left} stand, ours <= theirs: {said(strong)} (fallen to theirs only {only or 'none'}, "
            f"to ours only {int((worst & ~robust).sum())}); time ratio {ratio:.2f} ({min(ratios):.2f} to "
            f"{max(ratios):.2f}) <= 1/3: {said(fast)}"
        )
        verdicts.asked[strength] += 1
        verdicts.weaker[strength] += [] if strong else [f"{where} by {left - most}"]
        verdicts.slower[strength] += [] if fast else [f"{where} {ratio:.2f}"]


def said(good: bool) -> str:  # noqa: FBT001 - a word for a truth
    """Return the word."""
    return "yes" if good else "no"


def ours(target: Target, budget: Budget, strength: str, other: nn.Module | None = None) -> Found:
    """Return the verdict of `robustness.accuracy` on each example, the checks of validity in its cost.

    Args:
        target: Model and examples.
        budget: How hard to attack.
        strength: Of the attack.
        other: A baseline whose points are tried too; else the model is its own.

    Raises:
        NotMeasurableError: The model has no gradient that could be trusted.
    """
    task = asked(target)
    given = {**vars(budget), "examples": len(target.labels), "strength": strength}
    item = items.behaviour("robustness.accuracy")
    config = item.configure({k: v for k, v in given.items() if k in SETTINGS})
    candidate = evidence(target.model, task)
    baseline = candidate if other is None else evidence(other, task)
    counter = Counter()
    handle = counter.watch(target.model)
    started = time.process_time()
    answer = item.answer(baseline, candidate, config, torch.Generator().manual_seed(0))
    seconds = time.process_time() - started
    handle.remove()
    n = len(target.labels)
    stands = answer.columns[OWN if other is None else POOLED] == 1
    doubts = tuple(doubt.text for doubt in answer.doubts)
    return Found(stands, 0, seconds, counter.forward / n, counter.backward / n, doubts)


def asked(target: Target) -> Task:
    """Return a task whose every split holds the examples under attack.

    Args:
        target: Model and examples.
    """
    split = Split(target.inputs, target.labels, target.labels)
    return Task(
        "attacked", target.classes, (0.0, 1.0), dict.fromkeys(("train", "calibration", "select", "test"), split)
    )


def evidence(model: nn.Module, task: Task) -> Evidence:
    """Return fresh evidence of a model, its gradients checked as in every study.

    Args:
        model: The network.
        task: The examples.
    """
    return Evidence(subject.of(model, "it", "it", task.test.inputs[:4], torch.Generator().manual_seed(0)), task)


# Known answers ----------------------------------------------------------------------------------------------------


def linear(tools: dict[str, Tool]) -> None:
    """Print who is wrong on how many examples of a linear network, whose robust accuracy has a closed form.

    Args:
        tools: Those that are installed.
    """
    print("\nA linear network of 10 classes, 400 examples: verdicts that differ from the closed form")
    for budget in (Budget("linf", 0.008, 20, 5, 200), Budget("l2", 0.05, 20, 5, 200)):
        if budget.norm not in NORMS or (budget.norm == "l2" and "norm" not in SETTINGS):
            continue
        target, truth = networks.linear(budget)
        found = {"ours": ours(target, budget, "standard").robust}
        for name, tool in tools.items():
            for member, attack in tool.members.items():
                if member != "DDN" or budget.norm == "l2":
                    found[f"{name} {member}"] = run(attack, target, budget).robust
        print(
            f"  {NORMS[budget.norm]}, {float(truth.float().mean()):.3f} robust: "
            + ", ".join(f"{name} {int((robust != truth).sum())}" for name, robust in found.items())
        )


def planted(tools: dict[str, Tool], count: int) -> None:
    """Print who finds an adversarial point that is known to exist (Zimmermann et al. 2022): a valid attack, 95 %.

    Args:
        tools: Those that are installed.
        count: How many are planted.
    """
    robust = networks.digits(robust=True)
    for budget in (Budget("linf", 0.15, 20, 5, 200), Budget("l2", 0.75, 20, 5, 200)):
        if budget.norm == "l2" and "norm" not in SETTINGS:
            continue
        hits: dict[str, int] = {}
        plants = networks.plants(robust, budget, count)
        for target in plants:
            found = {"ours": ours(target, budget, "standard").robust}
            found["ours, quick"] = ours(target, budget, "quick").robust
            for name, tool in tools.items():
                first = next(iter(tool.members))
                found[f"{name} {first}"] = run(tool.members[first], target, budget).robust
            found["as many random points"] = networks.guessed(target, budget)
            for name, stays in found.items():
                hits[name] = hits.get(name, 0) + int(not stays[0])
        print(f"\nPlanted points, {NORMS[budget.norm]}: found of {len(plants)}")
        for name, hit in hits.items():
            low, high = interval(hit, len(plants))
            verdict = f"; >= 95 %: {said(hit >= 0.95 * len(plants))}" if name.startswith("ours") else ""
            print(f"  {name:32} {hit / len(plants):.3f}  [{low:.3f}, {high:.3f}]{verdict}")


def flagged(tools: dict[str, Tool], *, quick: bool) -> None:
    """Print what everybody says of networks whose gradients hide how weak they are.

    Args:
        tools: Those that are installed.
        quick: With fewer examples.
    """
    budget = Budget("linf", 0.15, 20, 5, 200)
    plain = networks.digits(robust=False).take(torch.arange(100 if quick else 200))
    truth = ours(plain, budget, "standard").share()
    print(f"\nNetworks that attacks with gradients fail on; the plain one is {truth:.3f} robust by ours")
    for name, model in networks.broken(plain.model).items():
        target = replace(plain, model=model)
        print(f"  {name}")
        try:
            found = ours(target, budget, "standard")
            noticed = "; ".join(found.said) or "nothing doubted"
            print(f"    {'ours':30} {found.share():.3f}  {noticed}")
        except NotMeasurableError as error:
            print(f"    {'ours':30} refused: {error}")
        for tool_name, tool in tools.items():
            for member, attack in {next(iter(tool.members)): next(iter(tool.members.values()))}.items():
                reported(f"{tool_name} {member}", attack, target, budget)


def reported(name: str, attack: object, target: Target, budget: Budget) -> None:
    """Print the number of a tool, or how it failed, and what it warned of.

    Args:
        name: Of the attack.
        attack: The attack.
        target: The broken model.
        budget: How hard to attack.
    """
    try:
        found = run(attack, target, budget)  # type: ignore[arg-type]
    except Exception as error:  # how it fails is the result
        print(f"    {name:30} {type(error).__name__}: {' '.join(str(error).split())[:100]}")
        return
    told = [w for w in found.said if not w.startswith("DeprecationWarning")]
    print(f"    {name:30} {found.share():.3f}  {told[0] if told else 'nothing said'}")


if __name__ == "__main__":
    main()
