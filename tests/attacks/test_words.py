from dataclasses import replace

import pytest
import torch

from whatelse.attacks import words as _words
from whatelse.errors import NotMeasurableError
from whatelse.tasks.task import Split, Task

WORDS = ("", "(unknown)", "a", "film", "flim", "fim", "trail", "trial", "well-made", "films", "unused", "")


def task_of(texts, words=WORDS):
    labels = torch.arange(len(texts)) % 2
    split = Split(torch.tensor(texts, dtype=torch.float32), labels, labels)
    splits = dict.fromkeys(("train", "calibration", "select", "test"), split)
    return Task("toy", 2, None, splits, vocabulary=len(WORDS), words=words)


@pytest.mark.known_answer
def test_the_slips_of_a_word_are_those_listed_by_hand():
    letters = "abcdefghijklmnopqrstuvwxyz"
    added = {f"f{c}ilm" for c in letters} | {f"fi{c}lm" for c in letters} | {f"fil{c}m" for c in letters}
    # Beside i lie u, o and, below it, k; beside l lie k and, above it, o.
    assert _words.misspelled("film") == {"flim", "flm", "fim", "fulm", "folm", "fklm", "fikm", "fiom"} | added


@pytest.mark.known_answer
@pytest.mark.parametrize("word", ["", "a", "the", "n't", "4,000", "..."])
def test_short_words_and_what_has_few_letters_stay(word):
    assert _words.misspelled(word) == set()


@pytest.mark.parametrize("word", ["well-made", "good", "ss's's", "Anna", "schön"])
def test_first_and_last_stay_and_only_letters_change(word):
    found = _words.misspelled(word)
    assert word not in found
    assert all(slip[0] == word[0] and slip[-1] == word[-1] and abs(len(slip) - len(word)) <= 1 for slip in found)
    marks = [c for c in word if not c.isalpha()]
    assert all([c for c in slip if not c.isalpha()] == marks for slip in found)


@pytest.mark.known_answer
def test_keys_lie_beside_those_of_a_keyboard():
    assert {k: "".join(sorted(_words._beside(k))) for k in "qaglm"} == {
        "q": "aw",
        "a": "qsz",
        "g": "bfht",
        "l": "ko",
        "m": "jn",
    }
    assert not _words._beside("-")


@pytest.mark.known_answer
def test_a_slip_is_what_the_vocabulary_makes_of_it():
    found = _words.read(task_of([[2, 3, 6], [8, 1, 0]]), 2, "characters", "")
    others = {i: [j for j in row if j >= 0] for i, row in enumerate(found.others.tolist())}
    assert others == {**dict.fromkeys(range(12), []), 3: [1, 4, 5], 6: [1, 7], 8: [1]}, "words of the texts alone"
    assert found.count == 3 * 3
    clean = torch.tensor([[2.0, 3.0, 6.0]])
    assert found.open(clean, clean).tolist() == [[False] * 3 + [True] * 3 + [True, True, False]]
    now = found.made(clean, torch.tensor([7]))
    assert now.tolist() == [[2, 3, 7]]
    assert found.open(now, clean).tolist() == [[False] * 3 + [True] * 3 + [False] * 3], "each word is replaced once"
    assert now.dtype == torch.float32


def test_only_the_first_texts_are_read_and_the_digest_tells_them_apart():
    task = task_of([[2, 3, 6], [8, 1, 0]])
    one, two = (_words.read(task, count, "characters", "") for count in (1, 2))
    assert not (one.others[8] >= 0).any()
    assert one.digest != two.digest
    assert _words.read(task_of([[1, 2, 0], [2, 2, 0]]), 2, "characters", "").count == 0


@pytest.mark.known_answer
def test_synonyms_stand_in_a_line_of_the_file(tmp_path):
    path = tmp_path / "synonyms.txt"
    path.write_text("film, films ,movie\ntrail,a\n\nfilm,a\ntrial,process\n", "utf-8")
    found = _words.read(task_of([[2, 3, 6], [7, 9, 0]]), 2, "synonyms", str(path))
    others = {i: [j for j in row if j >= 0] for i, row in enumerate(found.others.tolist())}
    assert others == {**dict.fromkeys(range(12), []), 2: [3, 6], 3: [2, 9], 6: [2], 9: [3]}


def test_what_is_missing_is_said(tmp_path):
    task = task_of([[2, 3, 6], [8, 1, 0]])
    with pytest.raises(NotMeasurableError, match="needs the word of every id; task toy has no words"):
        _words.read(replace(task, words=()), 2, "characters", "")
    with pytest.raises(NotMeasurableError, match="one group of words with the same meaning a line"):
        _words.read(task, 2, "synonyms", "")
    with pytest.raises(NotMeasurableError, match="synonyms: cannot read .*absent: No such file"):
        _words.read(task, 2, "synonyms", str(tmp_path / "absent"))
    path = tmp_path / "other.txt"
    path.write_text("film,movie\n", "utf-8")
    with pytest.raises(NotMeasurableError, match="no two words of a line of .* are among the words of task toy"):
        _words.read(task, 2, "synonyms", str(path))
    path.write_bytes(b"film,\xff\n")
    with pytest.raises(NotMeasurableError, match="synonyms: cannot read .*other.txt"):
        _words.read(task, 2, "synonyms", str(path))
