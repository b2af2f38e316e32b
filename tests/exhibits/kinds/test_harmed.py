import dataclasses

import pytest
import torch

from whatelse import surfaces
from whatelse.answer import Answer, Shown
from whatelse.auditing.questions import Measurement
from whatelse.exhibits.kinds import harmed
from whatelse.tasks.language import Passage
from whatelse.tasks.task import Task
from whatelse.testing import speakers
from whatelse.testing.surfaces import findings


def answers_of(columns):
    """Whether each of the examples was right, by name and seed."""
    return {of: Answer({"right": torch.tensor(column)}) for of, column in columns.items()}


def page_of(found):
    return surfaces.surface("surfaces", "html").text(found)


@pytest.fixture
def colored(toy):
    """Three examples in three channels between -1 and 1: gray, colored, white."""
    inputs = torch.zeros(3, 3, 2, 2)
    inputs[1] = torch.tensor([-1.0, 0.5, 0.2])[:, None, None]
    inputs[2] = 1
    return toy.task_of(inputs, [0, 1, 0], bounds=(-1.0, 1.0))


def models_of(toy, task, seeds=(0,)):
    """A linear baseline and one that is twice as loud, under every seed."""
    found = {}
    for seed in seeds:
        base = None
        for name, factor in (("baseline", 1.0), ("half", 2.0)):
            wide = task.test.inputs[0].numel()
            net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(wide, 2, bias=False))
            with torch.no_grad():
                net[1].weight.copy_(factor * torch.arange(float(wide)) * torch.tensor([[-1.0], [1.0]]) / 2)
            found[name, seed] = toy.evidence_of(net, task, reference=base, name=name)
            base = found["baseline", seed]
    return found


@pytest.mark.parametrize(("shape", "shown"), [((1, 2, 2), 1), ((3, 2, 2), 1), ((4, 2, 2), 0), ((12,), 0)])
def test_harm_is_shown_of_images_of_one_channel_or_three_and_never_of_rows(toy, made, shape, shown):
    task = toy.task_of(torch.zeros(3, *shape), [0, 1, 0])
    answers = answers_of({("baseline", 0): [1.0, 1.0, 1.0], ("half", 0): [1.0, 0.0, 1.0]})
    asked = made.asked_of(task, answers=answers, evidence=models_of(toy, task))
    assert [e.kind for e in harmed.exhibits(asked)] == ["harmed"] * shown


@pytest.mark.known_answer
def test_the_examples_that_lost_most_over_seeds_come_first_under_the_seed_that_shows_it_best(toy, made, colored):
    columns = {("baseline", 0): [1.0, 1.0, 0.0], ("baseline", 1): [1.0, 1.0, 0.0]}
    columns |= {("half", 0): [1.0, 0.0, 1.0], ("half", 1): [0.0, 0.0, 1.0]}
    evidence = models_of(toy, colored, (0, 1))
    seen = []
    asked = made.asked_of(colored, seeds=(0, 1), answers=answers_of(columns))
    asked = dataclasses.replace(asked, evidence_of=lambda *of: seen.append(of) or evidence[of])
    (shown,) = harmed.exhibits(asked)
    assert (shown.row, shown.task, shown.candidate) == ("overfitting", "clean", "half")
    assert shown.title == "harmed most by half"
    assert [item.index for item in shown.items] == [1, 0], "the third was helped"
    assert shown.items[0].note == "accuracy: 1 → 0, mean of 2 seeds"
    assert shown.items[1].note == "accuracy: 1 → 0.5, mean of 2 seeds"
    assert set(seen[-2:]) == {("baseline", 1), ("half", 1)}, "the first was lost under the second seed"
    made.there_and_back(shown)


def test_nothing_is_shown_where_nobody_was_harmed_or_answers_show_something_by_themselves(toy, made, colored):
    same = answers_of({("baseline", 0): [1.0, 1.0, 0.0], ("half", 0): [1.0, 1.0, 1.0]})
    evidence = models_of(toy, colored)
    assert not list(harmed.exhibits(made.asked_of(colored, answers=same, evidence=evidence)))
    worse = answers_of({("baseline", 0): [1.0, 1.0, 0.0], ("half", 0): [0.0, 1.0, 1.0]})
    assert list(harmed.exhibits(made.asked_of(colored, answers=worse, evidence=evidence)))
    assert not list(harmed.exhibits(made.asked_of(colored, answers=worse))), "the models are gone"
    tree = dataclasses.replace(worse["baseline", 0], shown=(Shown("tree", {"n": torch.ones(1)}),))
    answers = worse | {("baseline", 0): tree}
    assert not list(harmed.exhibits(made.asked_of(colored, answers=answers, evidence=evidence)))


def test_a_missing_group_is_not_named(toy, made):
    codes = {"style": torch.tensor([1, -1, 0]), "digit": torch.tensor([0, 1, 1])}
    task = toy.task_of(torch.zeros(3, 2), [0, 1, 0], groups=codes)
    names = {"style": ("plain", "turned"), "digit": ("3", "8")}
    asked = made.asked_of(Task("toy", 2, None, task.splits, names))
    assert [harmed.groups_of(i, asked) for i in range(3)] == [["turned"], [], ["plain"]]


@pytest.mark.known_answer
def test_a_colored_example_is_shown_in_gray_with_what_all_its_channels_contribute(toy, made, colored):
    evidence = models_of(toy, colored)
    item = harmed.shown_as(1, made.asked_of(colored, evidence=evidence), "half", 0)
    assert item.image == ((0.45, 0.45), (0.45, 0.45))
    # Of class 0 or 1 alike: -w for pixel u, then .5 w and .2 w of the channels behind it, 4 and 8 weights on.
    sign = 1 if item.before == "1" else -1
    expected = [sign * (-u + 0.5 * (u + 4) + 0.2 * (u + 8)) for u in range(4)]
    for field in (item.maps.baseline, item.maps.candidate):  # twice as loud, and brought to the baseline's loudness
        assert sum(field, ()) == pytest.approx(expected, abs=1e-3)
    mute = dataclasses.replace(evidence["half", 0].subject, without=frozenset({"differentiates", "opens"}))
    evidence["half", 0] = dataclasses.replace(evidence["half", 0], subject=mute)
    assert harmed.shown_as(1, made.asked_of(colored, evidence=evidence), "half", 0).maps is None
    boundless = dataclasses.replace(colored, bounds=None)
    assert harmed.shown_as(1, made.asked_of(boundless, evidence=evidence), "half", 0).image is None


def passages_of(made, task, item, label, answers):
    """Both models are speakers, which read passages."""
    base = speakers.evidence_of(speakers.Speaker(), task, name="baseline")
    mine = speakers.evidence_of(speakers.Speaker(moved=0.3), task, name="half", reference=base)
    evidence = {("baseline", 0): base, ("half", 0): mine}
    measured = Measurement("overfitting", item, ["clean"], 0.02, label, primary=True)
    asked = made.asked_of(task, item=item, answers=answers(base, mine), evidence=evidence)
    return dataclasses.replace(asked, measurement=measured), evidence


@pytest.mark.known_answer
def test_of_documents_the_text_is_shown_whose_number_a_unit_rose_most(made):
    task = speakers.documents(["<b>the dog</b>", "a" * 500, "the cat sat."])

    def answers(base, mine):
        units = torch.tensor([10.0, 100.0, 10.0])
        losses = {"baseline": [10.0, 10.0, 10.0], "half": [20.0, 30.0, 5.0]}
        return {(name, 0): Answer({"loss": torch.tensor(loss), "units": units}) for name, loss in losses.items()}

    asked, _ = passages_of(made, task, "language.likelihood", "loss", answers)
    (shown,) = harmed.exhibits(asked)
    assert [item.index for item in shown.items] == [0, 1], "by 1 a unit and by 0.2; the third was helped"
    assert shown.items[0].note == "loss: 1 → 2, mean of 1 seeds"
    assert shown.items[0].text == "<b>the dog</b>"
    assert shown.items[1].text == "a" * 397 + "..."
    made.there_and_back(shown)
    page = page_of(dataclasses.replace(findings(), exhibits=(dataclasses.replace(shown, row="performance"),)))
    assert "&lt;b&gt;the dog&lt;/b&gt;" in page
    assert "<b>the dog" not in page


def test_of_items_it_is_said_what_was_right_and_what_was_chosen(made):
    passages = [Passage(f"question {i}", (" the", " a dog", " home")) for i in range(3)]
    task = speakers.task_of("choices", passages, [0, 1, 2])
    columns = {("baseline", 0): [1.0, 1.0, 1.0], ("half", 0): [1.0, 0.0, 1.0]}
    asked, evidence = passages_of(
        made, task, "generalization.accuracy", "accuracy", lambda base, mine: answers_of(columns)
    )
    (shown,) = harmed.exhibits(asked)
    (item,) = shown.items
    said = ["the", "a dog", "home"]
    assert (item.index, item.truth, item.text) == (1, "a dog", "question 1")
    assert item.before == said[int(evidence["baseline", 0].predictions()[1])]
    assert item.after == said[int(evidence["half", 0].predictions()[1])]


def test_rows_of_an_answer_are_named_by_their_example_and_tokens_by_none(made):
    task = speakers.documents(["one.", "two.", "three."])

    def answers(base, mine):
        rows = torch.tensor([2, 1])
        agrees = {"baseline": [1.0, 1.0], "half": [0.25, 1.0]}
        return {(name, 0): Answer({"agrees": torch.tensor(one)}, rows=rows) for name, one in agrees.items()}

    asked, _ = passages_of(made, task, "language.generation", "agreement", answers)
    (shown,) = harmed.exhibits(asked)
    assert [(item.index, item.text) for item in shown.items] == [(2, "three.")]

    def tokens(base, mine):
        rows = torch.tensor([0, 0, 1])
        far = {"baseline": [0.0, 0.0, 0.0], "half": [1.0, 2.0, 3.0]}
        return {(name, 0): Answer({"divergence": torch.tensor(one)}, rows=rows) for name, one in far.items()}

    assert not list(harmed.exhibits(passages_of(made, task, "language.tail", "tail", tokens)[0]))
