import pytest
import torch

from whatelse.behaviours.generalization import accuracy
from whatelse.behaviours.language import normalized_accuracy as item
from whatelse.errors import NotMeasurableError
from whatelse.models.recorded import RecordedScores
from whatelse.tasks.language import Passage
from whatelse.testing import speakers

INF = float("inf")
# By length (1, 2, 3 letters; "ü" has two bytes) -3, -2 and -1; the first is the likeliest, the last for its length.
SCORES, CHOICES = [[-3.0, -4.0, -3.5], [-3.0, -4.0, -INF]], [("a", "bü", "ccc"), ("a", "bü")]


def evidence(targets):
    passages = [Passage("q", tuple(f" {c}" for c in some), tuple(map(len, some))) for some in CHOICES]
    task = speakers.task_of("choices", passages, targets)
    return speakers.recorded_of(RecordedScores({"test": torch.tensor(SCORES)}), task)


@pytest.mark.known_answer
def test_it_is_the_likeliest_for_its_length(ones, rng):
    answer = item.measure(evidence([2, 0]), item.Config(), rng)
    assert answer["correct"].tolist() == [1, 0]
    assert item.summarise(answer, item.Config(), ones(answer)).tolist() == [0.5]
    assert accuracy.measure(evidence([2, 0]), accuracy.Config(), rng)["correct"].tolist() == [0, 1]
    assert item.measure(evidence([2, 1]), item.Config(), rng)["correct"].tolist() == [1, 1]


@pytest.mark.known_answer
def test_bytes_are_another_length(rng):
    by = item.Config(by="bytes")  # -4 / 3 for "bü"
    assert item.measure(evidence([2, 1]), by, rng)["correct"].tolist() == [1, 1]
    scores = [[-3.0, -2.9 * 2, -9.0]] * 2  # by characters bü is likelier than a, too; by bytes far more so
    task = speakers.task_of("choices", [Passage("q", ("aa", "ü", "cccc"))] * 2, [0, 1])
    other = speakers.recorded_of(RecordedScores({"test": torch.tensor(scores)}), task)
    assert item.measure(other, item.Config(), rng)["correct"].tolist() == [1, 0]  # -1.5, -5.8, -2.25
    assert item.measure(other, by, rng)["correct"].tolist() == [1, 0]  # -1.5, -2.9, -2.25


@pytest.mark.known_answer
def test_of_equal_ones_the_first_counts(rng):
    task = speakers.task_of("choices", [Passage("q", ("a", "b"))] * 2, [0, 1])
    tied = speakers.recorded_of(RecordedScores({"test": torch.zeros(2, 2)}), task)
    assert item.measure(tied, item.Config(), rng)["correct"].tolist() == [1, 0]


def test_documents_have_no_choices(pair, rng):
    with pytest.raises(NotMeasurableError, match="needs choices; task texts is of documents"):
        item.measure(pair[0], item.Config(), rng)
