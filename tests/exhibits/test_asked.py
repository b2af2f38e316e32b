import torch

from whatelse.answer import Answer, Shown
from whatelse.exhibits.asked import Candidate


def test_pairs_are_whole_or_there_are_none(toy, made):
    task = toy.task_of(torch.zeros(3, 2), [0, 1, 0])
    answers = {(name, seed): Answer({"right": torch.rand(3)}) for name in ("baseline", "half") for seed in (0, 1)}
    asked = made.asked_of(task, seeds=(0, 1), answers=answers)
    (half,) = asked.candidates
    assert asked.held(half) == [(answers["baseline", s], answers["half", s]) for s in (0, 1)]
    assert asked.held(Candidate("half", "")) == [], "held against zero"
    answers.pop(("half", 1))
    assert made.asked_of(task, seeds=(0, 1), answers=answers).held(half) == []


def test_what_an_answer_shows_is_found_by_its_kind_under_the_first_seed(toy, made):
    task = toy.task_of(torch.zeros(3, 2), [0, 1, 0])
    plain = Answer({"right": torch.rand(3)})
    tree = Answer({"right": torch.rand(3)}, shown=(Shown("tree", {"n": torch.ones(1)}),))
    asked = made.asked_of(task, seeds=(3, 4), answers={("baseline", 3): plain, ("half", 3): tree, ("half", 4): plain})
    assert asked.shown("half", "tree") == {"n": torch.ones(1)}
    assert asked.shown("half", "rebuilt") == asked.shown("baseline", "tree") == asked.shown("gone", "tree") == {}
    assert asked.shows_by_itself()
    assert not made.asked_of(task, seeds=(4,), answers={("half", 4): plain}).shows_by_itself()
