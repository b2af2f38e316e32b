import numpy as np
import pytest
import torch

from whatelse.auditing.questions import default, read_questions
from whatelse.evidence.cache import Evidence
from whatelse.gate import budgets as owners
from whatelse.searching import gauge
from whatelse.searching.gauge import Gauge
from whatelse.searching.judge import ScoresJudge
from whatelse.searching.trial import Bench

ACCEPTED = """
[[budgets]]
behaviour = "generalization.accuracy"
most = 0.05
[[budgets]]
label = "harmed (right before, wrong after)"
most = 0.08
[[budgets]]
label = "negative log-likelihood"
most = 0.2
[[budgets]]
behaviour = "generalization.macro_accuracy"
most = 0.1
groups = ["*"]
[[budgets]]
behaviour = "fairness.worst_group"
most = 0.1
groups = ["*"]
demanded = false
"""


@pytest.fixture(scope="module")
def measured(model, task, tmp_path_factory):
    """A judge, scores of a model that was made worse, and what was measured of it."""
    from contextlib import ExitStack

    from whatelse.auditing.roles import Role
    from whatelse.searching.runner import Runner
    from whatelse.searching.trial import NAME
    from whatelse.store.folder import Folder
    from whatelse.study import run
    from whatelse.study.meeting import meet

    asked = read_questions(default())
    budgets = owners.parse(ACCEPTED)
    wanted = gauge.asked_for(budgets, asked)
    with ExitStack() as stack:
        store = Folder(tmp_path_factory.mktemp("judge"))
        met = meet({Role.BASELINE: model, NAME: model}, task, "", store, stack, force=False, inline=True)
        bench = Bench(met.data, met.models[Role.BASELINE], 0)
        runner = stack.enter_context(Runner(lambda: run.engine("inline", 1), store))
        from whatelse import recipe

        made = bench.made(recipe.parse("quantize.uniform(bits=2, activation_bits=32)"))
        attempt = bench.attempt(made, wanted, "select", 2000, scores=True)
        still = bench.attempt(bench.baseline, wanted, "select", 2000, again=1)
        runner.run([bench.of_baseline(wanted, "select"), still, attempt])
        by = Gauge(budgets, asked, wanted, "budgets")
        none, found = (by.held(by.findings(one.contrasts(store))) for one in (still, attempt))
        scores = store.load("values", attempt.job.scores)[0]["logits"]
        on_select = met.task.on("select")
        base = Evidence(met.baseline(), met.task, on="select").logits()
        rows = torch.arange(len(base))
        sizes = [(one.question.n or 500, 900) for one in none]
        judge = ScoresJudge(none, {m.label: m for m in wanted}, on_select, base, rows, sizes)
    return judge, scores, {one.name: one for one in found}, dict(zip(judge.names, sizes, strict=True))


@pytest.mark.known_answer
def test_what_is_judged_of_scores_is_what_is_measured(measured):
    judge, scores, found, sizes = measured
    over, shift, weight = (row[0] for row in judge.judged([scores]))
    assert judge.seen.all()
    assert any("class" in name for name in judge.names)
    for k, name in enumerate(judge.names):
        one = found[name]
        # Undrawn: the harm as it was measured, its bound of the same kind.
        drawn = (one.value + shift[k], one.upper + shift[k], *sizes[name], weight[k])
        expected = gauge.over(one.question, *drawn)
        if "worst" in name or "likelihood" in name:
            # Standard errors of a few resamples, and of moments in place of resamples.
            assert over[k] == pytest.approx(expected, abs=0.25)
        else:
            assert over[k] == pytest.approx(expected, abs=0.12)


@pytest.mark.known_answer
def test_many_models_are_judged_as_each_alone(measured):
    judge, scores, _, _ = measured
    noise = torch.randn(scores.shape, generator=torch.Generator().manual_seed(0))
    several = [scores, scores + noise, scores - 0.5 * noise]
    together = judge.over(several)
    for at, one in enumerate(several):
        np.testing.assert_allclose(together[at], judge.over([one])[0], rtol=1e-9)


def test_luck_with_the_examples_is_drawn_out(measured):
    judge, _, found, _ = measured
    base = judge._base
    right = base.argmax(1) == judge._plain.test.targets
    change = 3 * torch.randn(base.shape, generator=torch.Generator().manual_seed(1))
    # Changes that strike only where nothing flips: a search finds such.
    kept = (base + change).argmax(1) == base.argmax(1)
    lucky = base + change * kept[:, None]
    name = next(name for name in judge.names if name.startswith("harmed"))
    at = judge.names.index(name)
    _, shift, weight = judge.judged([lucky])
    assert right.any()
    assert shift[0, at] > 0.005
    assert 0 <= weight[0, at] < 1
    assert found[name].value >= 0
