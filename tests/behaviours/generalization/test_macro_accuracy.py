import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, recall_score

from whatelse.behaviours.generalization import macro_accuracy


@pytest.mark.known_answer
def test_the_mean_recall_by_hand(answers, votes, toy, rng):
    # Right: 3 of 4 of class 0, 0 of 1 of class 1, 1 of 1 of class 2.
    evidence = answers(votes([0, 0, 0, 1, 0, 2]), [0, 0, 0, 0, 1, 2])
    answer = macro_accuracy.measure(evidence, macro_accuracy.Config(), rng)
    assert answer.table().tolist() == [[1, 0], [1, 0], [1, 0], [0, 0], [0, 1], [1, 2]]
    assert macro_accuracy.by_part(answer, macro_accuracy.Config(), toy.ones(answer))[0] == pytest.approx([3 / 4, 0, 1])
    assert macro_accuracy.summarise(answer, macro_accuracy.Config(), toy.ones(answer)) == pytest.approx([7 / 12])
    assert macro_accuracy.outcomes(answer, macro_accuracy.Config())[:, 1:].tolist() == [
        [c, c] for c in (0, 0, 0, 0, 1, 2)
    ]
    # A resample without class 1 is judged by the others.
    assert macro_accuracy.summarise(answer, macro_accuracy.Config(), np.array([[1, 1, 0, 2, 0, 2]])) == pytest.approx(
        [(1 / 2 + 1) / 2]
    )


@pytest.mark.known_answer
@pytest.mark.parametrize("classes", [2, 7, 40])
def test_it_is_scikit_learns_balanced_accuracy_on_every_resample(answers, rng, classes):
    draw = np.random.default_rng(classes)
    shares = draw.dirichlet(np.full(classes, 0.5))  # of classes as unequal as they come
    targets = draw.choice(classes, 400, p=shares)
    targets[:2] = [0, 1]
    scores = draw.normal(size=(400, classes)) + 1.5 * np.eye(classes)[targets]
    answer = macro_accuracy.measure(answers(scores, targets), macro_accuracy.Config(), rng)
    said = scores.argmax(1)
    counts = draw.multinomial(400, np.full(400, 1 / 400), size=3)
    for row, found in zip(counts, macro_accuracy.summarise(answer, macro_accuracy.Config(), counts), strict=True):
        keep = np.repeat(np.arange(400), row)
        labels = np.unique(targets[keep])
        assert found == pytest.approx(recall_score(targets[keep], said[keep], labels=labels, average="macro"))
    assert macro_accuracy.summarise(answer, macro_accuracy.Config(), np.ones((1, 400)))[0] == pytest.approx(
        balanced_accuracy_score(targets, said)
        if set(said) <= set(targets)
        else recall_score(targets, said, labels=np.unique(targets), average="macro")
    )
    each = recall_score(targets, said, labels=np.unique(targets), average=None)
    assert macro_accuracy.by_part(answer, macro_accuracy.Config(), np.ones((1, 400)))[0] == pytest.approx(each)


def test_classes_that_test_lacks_are_named_after_those_that_it_has(answers, votes, toy, rng):
    evidence = answers(votes([0, 0, 3], 9), [0, 0, 3])
    train = dataclasses.replace(evidence.task.train, targets=torch.tensor([5, 0, 3])[: len(evidence.task.train)])
    evidence.task = dataclasses.replace(evidence.task, splits={**evidence.task.splits, "train": train})
    answer = macro_accuracy.measure(evidence, macro_accuracy.Config(), rng)
    assert answer.parts.names == ("class 0", "class 3", "class 5")
    assert answer["class"].tolist() == [0, 0, 1]
    assert macro_accuracy.summarise(answer, macro_accuracy.Config(), toy.ones(answer)) == pytest.approx([1])
    assert answer.notes == ("no split has an example of 6 of 9 classes",)


def test_naming_one_class_scores_one_over_the_number_of_classes(answers, votes, toy, rng):
    answer = macro_accuracy.measure(answers(votes([0] * 100, 4), [0] * 97 + [1, 2, 3]), macro_accuracy.Config(), rng)
    assert macro_accuracy.summarise(answer, macro_accuracy.Config(), toy.ones(answer)) == pytest.approx([1 / 4])
