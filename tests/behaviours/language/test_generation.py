import pytest

from whatelse.behaviours.language import _written, generation
from whatelse.errors import NotMeasurableError
from whatelse.models.model import Written
from whatelse.testing import speakers

CONFIG = generation.Config(tokens=6, prompt=5)


class Scripted(speakers.Speaker):
    """Writes what it is told to, whatever the prompt; another thing alone than in a batch."""

    def __init__(self, texts, alone=None, *, ended=False):
        super().__init__()
        self.texts, self.alone, self.ended = texts, alone or texts, ended

    def write(self, prompts, tokens, at_once):
        del prompts, tokens
        return [Written(text, self.ended, len(text)) for text in (self.alone if at_once == 1 else self.texts)]


def evidence(texts, model, reference=None):
    return speakers.evidence_of(model, speakers.documents(texts), reference=reference)


@pytest.mark.known_answer
def test_it_is_the_share_of_the_common_beginning(ones, rng):
    texts = ["the dog ran home.", "a cat sat.", "she saw him."]
    base = evidence(texts, Scripted(["abcd", "abcd", "abcdef"], ["abcd", "abXX", "abcdef"]))
    mine = evidence(texts, Scripted(["abcd", "abXd", "zbcdef"]), base)
    answer = generation.compare(base, mine, CONFIG, rng)
    assert answer["agrees"].tolist() == [1.0, 0.5, 0.0]
    assert answer.rows.tolist() == [0, 1, 2]
    assert answer.notes == ("the baseline, writing one prompt at a time, agrees with itself by 0.833",)
    assert generation.summarise(answer, CONFIG, ones(answer)) == pytest.approx([0.5])


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("one", "two", "share"),
    [
        (("abc", False), ("abc", False), 1.0),
        (("abc", False), ("abcd", False), 1.0),  # cut off by the number of tokens
        (("abc", True), ("abcd", False), 0.75),  # one ended its text, the other went on
        (("abc", True), ("abc", True), 1.0),
        (("", True), ("abcd", False), 0.0),
        (("", True), ("", True), 1.0),
        (("abx", False), ("aby", True), 2 / 3),
    ],
)
def test_what_is_cut_off_contradicts_nothing_and_what_is_ended_does(one, two, share):
    texts = Written(*one, 1), Written(*two, 1)
    assert _written.common(*texts) == pytest.approx(share)
    assert _written.common(*texts[::-1]) == pytest.approx(share)


def test_prompts_end_with_a_word_and_leave_something_to_write():
    task = speakers.documents(["the dog ran home.", "a", "twelve letters"])
    rows, prompts = _written.prompts(speakers.evidence_of(speakers.Speaker(), task), 5, 10)
    assert (rows.tolist(), prompts) == ([0, 2], ["the dog", "twelve"])
    with pytest.raises(NotMeasurableError, match="needs texts of more than 50 characters"):
        _written.prompts(speakers.evidence_of(speakers.Speaker(), task), 50, 10)


def test_a_model_agrees_with_itself(texts, rng):
    base = evidence(texts, speakers.Speaker())
    same = evidence(texts, speakers.Speaker(), base)
    for one in (base, same):
        assert generation.compare(base, one, CONFIG, rng)["agrees"].tolist() == [1.0, 1.0]
