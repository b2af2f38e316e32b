import pytest
import torch

from whatelse.attacks import apgd, attack, losses, norms
from whatelse.errors import NotMeasurableError
from whatelse.models.subject import log_odds
from whatelse.nets import cnn

RADII = {"linf": 0.1, "l2": 0.7}
RADIUS = 0.3


@pytest.fixture
def net(toy, claims, rng):
    """A small network on images near its border, in double precision.

    The sign of a gradient magnifies what a batch rounds otherwise than a single example.
    """
    model = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng)
    with torch.no_grad():
        model.head.weight.mul_(20)
    inputs = torch.rand(24, 1, 8, 8, generator=rng)
    labels = model(inputs).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    return claims(model.double(), toy.task_of(inputs.double(), labels, classes=3, bounds=(0.0, 1.0)))


@pytest.mark.known_answer
def test_the_checkpoints_are_those_of_the_paper():
    # p_1 = .22, p_(j+1) = p_j + max(p_j - p_(j-1) - .03, .06), Croce & Hein section 3.1.
    assert {c for c in apgd._checkpoints(100) if c <= 100} == {22, 41, 57, 70, 80, 87, 93, 99}


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", norms.NORMS)
def test_it_climbs_as_the_papers_algorithm_does(net, norm):
    inputs, labels = net.task.test.inputs[:9], net.task.test.targets[:9]
    budget, bounds = attack.Budget(RADII[norm], 30, norm), (0.0, 1.0)
    found = attack.climb(net, inputs, labels, budget, torch.Generator().manual_seed(1))
    begin = norms.start(inputs, budget.radius, norm, bounds, torch.Generator().manual_seed(1))
    slow = [slow_apgd(net.model, x, y, b, budget) for x, y, b in zip(inputs, labels, begin, strict=True)]
    assert torch.allclose(found, torch.stack(slow), atol=1e-9)
    assert norms.size(found - inputs, norm).max() <= budget.radius + 1e-9
    assert found.min() >= 0
    assert found.max() <= 1


def slow_apgd(model, x, y, begin, budget):
    """Algorithm 1 of the paper for one example, with explicit iterates; the best point prefers a wrong answer."""

    def look(z):
        z = z.clone().requires_grad_()
        logits = model(z[None])
        f = -log_odds(logits, y[None]).sum()
        return f.item(), torch.autograd.grad(f, z)[0], bool(logits.argmax() != y)

    def project(z):
        return slow_project(z, x, budget)

    def way(g):
        return g.sign() if budget.norm == "linf" else g / g.norm()

    checks = sorted(apgd._checkpoints(budget.steps))
    eta, current = 2 * budget.radius, begin
    f, g, wrong = look(current)
    f_max, x_max, g_max, previous, seen = f, current, g, current, [(wrong, f, current)]
    rises, halved_last, f_max_last, last_check = 0, True, f, 0
    for k in range(1, budget.steps + 1):
        z = project(current + eta * way(g))
        new = z if k == 1 else project(current + 0.75 * (z - current) + 0.25 * (current - previous))
        f_new, g_new, wrong = look(new)
        rises += f_new > f
        seen.append((wrong, f_new, new))
        if f_new > f_max:
            f_max, x_max, g_max = f_new, new, g_new
        previous, current, f, g = current, new, f_new, g_new
        if k in checks:
            halve = rises <= 0.75 * (k - last_check) or (not halved_last and f_max_last >= f_max)
            if halve:
                eta, current, f, g = eta / 2, x_max, f_max, g_max
            rises, halved_last, f_max_last, last_check = 0, halve, f_max, k
    return max(seen, key=lambda s: s[:2])[2]


def slow_project(z, x, budget):
    """The nearest point of ball and box: of the L2 ball clip(x + s (z - x)), with s by bisection."""
    if budget.norm == "linf":
        return torch.minimum(torch.maximum(z, x - budget.radius), x + budget.radius).clamp(0, 1)
    low, high = 0.0, 1.0
    if (z.clamp(0, 1) - x).norm() <= budget.radius:
        return z.clamp(0, 1)
    for _ in range(60):
        middle = (low + high) / 2
        inside = ((x + middle * (z - x)).clamp(0, 1) - x).norm() <= budget.radius
        low, high = (middle, high) if inside else (low, middle)
    return (x + low * (z - x)).clamp(0, 1)


@pytest.mark.parametrize("norm", norms.NORMS)
def test_who_stops_early_stops_at_the_first_point_that_fools_and_saves_passes(net, norm):
    inputs, labels = net.task.test.inputs, net.task.test.targets
    budget, found, spent = attack.Budget(RADII[norm], 30, norm), {}, {}
    for stop in (False, True):
        before = net.passes.backward
        found[stop] = attack.climb(net, inputs, labels, budget, torch.Generator().manual_seed(1), stop=stop)
        spent[stop] = net.passes.backward - before
    falls = [attack.fooled(net, found[stop], labels) for stop in (False, True)]
    assert torch.equal(*falls)
    assert 0.2 < falls[0].float().mean() < 1
    # Those that stand took the same way; those that fell lie nearer to the border.
    assert torch.allclose(found[True][~falls[0]], found[False][~falls[0]])
    margins = [log_odds(net.answers(found[stop]), labels)[falls[0]] for stop in (False, True)]
    assert bool((margins[0] <= margins[1] + 1e-9).all())
    assert spent[False] == 24 * 31
    assert spent[True] < spent[False]


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", norms.NORMS)
def test_who_spares_takes_five_steps_more_and_gives_up_what_is_far(net, norm):
    inputs, labels = net.task.test.inputs, net.task.test.targets
    budget, looks = attack.Budget(RADII[norm], 20, norm), {}
    for spare in (False, True):
        seen = []

        def ask(at, rows, seen=seen):
            loss = -log_odds(net.slopes(at), labels[rows])
            wrong = net.slopes(at).detach().argmax(1) != labels[rows]
            seen.append((rows.clone(), loss.detach(), wrong))
            return loss, wrong

        begin = norms.start(inputs, budget.radius, norm, (0.0, 1.0), torch.Generator().manual_seed(1))
        apgd.ascend(ask, inputs, begin, budget, (0.0, 1.0), spare=spare)
        looks[spare] = seen
    stays = torch.zeros(len(inputs), dtype=torch.long)
    for rows, _, _ in looks[True]:
        stays[rows] += 1
    loss, wrong = (torch.stack([look[part] for look in looks[False]], 1) for part in (1, 2))
    best = loss.cummax(1).values
    for row in range(len(inputs)):
        assert int(stays[row]) == _looked(loss[row], wrong[row], best[row])
    assert len(set(stays.tolist())) > 2


@pytest.mark.known_answer
@pytest.mark.parametrize(("steps", "looks"), [(20, 10), (100, 23)])
def test_who_is_without_hope_is_given_up_at_the_first_checkpoint_from_the_eighth_step_on(steps, looks):
    """The loss is linear, -10 at the start and -9.1 where it is largest, after one step: checkpoints 5, 9 and 22."""
    seen = []

    def ask(at, rows):
        seen.append(len(rows))
        loss = at.sum(1) - 10
        return loss, loss.detach() > 0

    clean = torch.zeros(1, 1)
    apgd.ascend(ask, clean, clean, attack.Budget(0.9, steps), (-1.0, 1.0), spare=True)
    assert seen == [1] * looks


def _looked(loss, wrong, best):
    """Return at how many points of the way that all steps take an example is looked at, by the definition."""
    fell = int(wrong.float().argmax()) if bool(wrong.any()) else 99
    hope = 0.4
    for k in (k for k in sorted(apgd._checkpoints(20)) if k < min(fell, 21)):
        missing, gained = -best[k], best[k] - loss[0]
        if k >= 8 and gained > 0.05 * missing and missing > hope * gained:
            return k + 1
        hope /= 2
    return min(21, fell + 6)


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", norms.NORMS)
def test_when_a_copy_fools_all_of_its_example_leave_and_the_others_go_on(net, norm):
    """Copies with other starts: each is looked at as often as the first of its example that fools needs, alone."""
    few = net.task.test.take(torch.arange(12))
    both = few.join(few)
    inputs, labels = both.inputs, both.targets
    budget, rng = attack.Budget(RADII[norm], 10, norm), torch.Generator().manual_seed(1)
    begin, copies, stays = norms.start(inputs, budget.radius, norm, (0.0, 1.0), rng), torch.arange(24) % 12, {}
    for together in (None, copies):
        seen = torch.zeros(24, dtype=torch.long)

        def ask(at, rows, seen=seen):
            seen[rows] += 1
            return -log_odds(net.slopes(at), labels[rows]), net.slopes(at).detach().argmax(1) != labels[rows]

        ends = apgd.ascend(ask, inputs, begin, budget, (0.0, 1.0), stop=True, copies=together)
        stays[together is None] = seen
        fell = attack.fooled(net, ends.points, labels).view(2, 12).any(0)
    soonest = stays[True].view(2, 12).amin(0)
    assert 0 < int(fell.sum()) < 12
    assert torch.equal(stays[False].view(2, 12), soonest.expand(2, 12))
    assert bool((stays[True].view(2, 12).amax(0) > soonest).any())


def test_small_batches_change_nothing(lines, toy):
    found = []
    for batch in (512, 7):
        mine = toy.evidence_of(lines.linear_of(lines.second), lines.task)
        mine.batch = batch
        found.append(attack.points(mine, attack.Budget(RADIUS, 9), 50))
    assert torch.allclose(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert len(found[0][0]) == 50


def test_points_are_made_once(lines, toy):
    mine = toy.evidence_of(lines.linear_of(lines.second), lines.task)
    for norm in norms.NORMS:
        points, _ = attack.points(mine, attack.Budget(RADIUS, 9, norm), 50)
        spent = mine.passes.backward
        assert torch.equal(points, attack.points(mine, attack.Budget(RADIUS, 9, norm), 50)[0])
        assert mine.passes.backward == spent
    assert set(mine.once("apgd 5 l2 radius=0.3 steps=9 examples=50", dict)) == {"points", "fooled", "far"}


@pytest.mark.known_answer
def test_bounds_may_be_given_feature_by_feature(lines, toy, rng):
    mine = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    fixed = torch.tensor([True, False] * 3)
    # Features that may not move lie between bounds that are the examples' own.
    low, high = torch.where(fixed, lines.inputs, -10), torch.where(fixed, lines.inputs, 10)
    x, y = lines.inputs[:1], lines.labels[:1]
    found = attack.climb(mine, x, y, attack.Budget(RADIUS, 9), rng, bounds=(low[0], high[0]))
    assert torch.equal(found[0][fixed], x[0][fixed])
    assert torch.allclose(found[0][~fixed], (x + lines.worst(lines.first, y, RADIUS))[0][~fixed])


def test_gradients_are_of_the_surrogate_and_success_of_the_model(lines, toy, claims):
    # A surrogate that is always fooled: what it says of success must not count.
    mine = claims(lines.linear_of(lines.first))
    object.__setattr__(mine.subject, "surrogate", lines.linear_of(-lines.first).eval().requires_grad_(False))  # noqa: FBT003
    _, fools = attack.points(mine, attack.Budget(0.0, 3), 50)
    assert fools.tolist() == (mine.predictions()[:50] != lines.labels[:50]).tolist()


def test_texts_are_refused(lines, toy, claims):
    texts = toy.task_of(lines.inputs.abs().round(), lines.labels)
    object.__setattr__(texts, "vocabulary", 9)
    with pytest.raises(NotMeasurableError, match="task toy is of tokens"):
        attack.points(claims(lines.linear_of(lines.first), texts), attack.Budget(0.1, 1), 9)


@pytest.mark.known_answer
def test_losses_are_those_of_the_papers():
    logits, labels = torch.tensor([[1.0, 4.0, 2.0, 0.5], [3.0, 1.0, 2.5, 2.0]]), torch.tensor([0, 0])
    targets = torch.tensor([2, 1])
    assert losses.dlr(logits, labels, labels).tolist() == pytest.approx([3 / 3, -0.5 / 1])
    assert losses.toward(logits, labels, targets).tolist() == pytest.approx([1, -2])
    mixed = losses.toward_or_dlr(logits, labels, torch.tensor([2, 0]))
    assert mixed.tolist() == pytest.approx([1, -0.5])
    odds = torch.softmax(logits, 1)[:, 0]
    assert losses.log_odds(logits, labels, labels).tolist() == pytest.approx((-(odds / (1 - odds)).log()).tolist())
    assert losses.rivals(logits, labels, 2).tolist() == [[1, 2], [2, 3]]
    assert losses.rivals(logits, labels, 9).shape == (2, 3)
