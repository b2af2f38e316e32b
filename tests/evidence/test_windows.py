"""How texts lie before a language model: every token said once, in windows that fit, with as little as may be run."""

import random

import pytest
import torch

from whatelse.evidence import tokens, windows
from whatelse.evidence.windows import Said, Window
from whatelse.tasks.language import Passage
from whatelse.testing import speakers


def lm_eval(token_list, prefix, longest):
    """``get_rolling_token_windows`` and ``make_disjoint_window`` of lm-eval, with a context of one."""
    predicted, found = 0, []
    first = min(longest, len(token_list))
    pairs = [([prefix, *token_list[: first - 1]], token_list[:first])] if token_list else []
    predicted += first
    while predicted < len(token_list):
        size = min(len(token_list) - predicted, longest)
        end = predicted + size
        pairs.append((token_list[end - longest - 1 : end - 1], token_list[end - size : end]))
        predicted += size
    for a, b in pairs:
        context = a[: len(a) - (len(b) - 1)]
        found.append(((context + b)[-(longest + 1) :][:-1], b))
    return found


@pytest.mark.known_answer
@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 11, 12, 13, 40])
def test_rolling_windows_are_those_of_lm_eval(count):
    text = list(range(100, 100 + count))
    mine = list(windows.rolling(text, 7, 6, 50))
    assert [(list(one.inputs), list(one.said[0].targets)) for one in mine] == lm_eval(text, 7, 6)
    places = [range(one.said[0].place, one.said[0].place + len(one.said[0].targets)) for one in mine]
    assert [at for some in places for at in some] == list(range(50, 50 + count))
    assert all(one.said[0].stop == len(one.inputs) for one in mine)


@pytest.mark.known_answer
def test_a_continuation_that_does_not_fit_loses_its_beginning():
    assert windows.continuation([1, 2, 3], [4, 5], 10, 0) == Window((1, 2, 3, 4), (Said(4, (4, 5), 0),))
    assert windows.continuation([1, 2, 3], [4, 5], 3, 0) == Window((2, 3, 4), (Said(3, (4, 5), 0),))
    assert windows.continuation([1], [2, 3, 4, 5], 2, 9) == Window((3, 4), (Said(2, (4, 5), 11),))


@pytest.mark.known_answer
def test_a_context_and_what_follows_are_cut_together_and_spaces_go_with_what_follows():
    speaker = speakers.Speaker()

    def letters(text):
        return speaker.cut(text, whole=True)

    assert windows.cut_pair(speaker, "a b", " c") == (letters("a b"), letters(" c"))
    assert windows.cut_pair(speaker, "a b ", "c") == (letters("a b"), letters(" c"))
    assert windows.cut_pair(speaker, "", "c") == ([speaker.start], letters("c"))
    assert windows.cut_pair(speaker, " ", "c") == ([speaker.start], letters(" c"))


@pytest.mark.known_answer
def test_windows_that_begin_others_are_said_within_them():
    one, two = Window((1, 2), (Said(2, (5,), 0),)), Window((1, 2), (Said(2, (6,), 1),))
    longer, other = Window((1, 2, 3), (Said(3, (3, 9), 2),)), Window((1, 4), (Said(2, (4, 4), 4),))
    found = windows.merged([longer, other, two, one])
    assert [window.inputs for window in found] == [(1, 2, 3), (1, 4)]
    assert sorted(found[0].said, key=lambda said: said.place) == [*one.said, *two.said, *longer.said]


def test_what_is_merged_padded_and_chunked_is_said_as_alone(monkeypatch):
    rng = random.Random(3)
    speaker = speakers.Speaker(longest=9)

    def text(most):
        return "".join(rng.choice("abc .") for _ in range(rng.randint(1, most)))

    passages = [Passage(rng.choice(["", "ab", "ab c", text(12)]), tuple(text(4) for _ in range(3))) for _ in range(40)]
    task = speakers.task_of("choices", passages)
    found = speakers.evidence_of(speaker, task).logits()
    for row, passage in enumerate(passages):
        for at, choice in enumerate(passage.continuations):
            before, own = windows.cut_pair(speaker, passage.context, choice)
            ids = [*before, *own][-(9 + 1) :]
            logs = speaker.said(speaker.states(torch.tensor([ids[:-1]]))[0]).double().log_softmax(1)
            mine = own[-9:]
            expected = sum(float(logs[len(ids) - 1 - len(mine) + i, token]) for i, token in enumerate(mine))
            assert float(found[row, at]) == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr(windows, "TOKENS", 20)
    monkeypatch.setattr(windows, "SAID", 300)
    monkeypatch.setattr(windows, "ROWS", 1)
    again = speakers.evidence_of(speakers.Speaker(longest=9), task).logits()
    assert torch.allclose(found, again, atol=1e-5)


def test_choices_of_one_token_after_a_question_are_one_pass():
    task = speakers.task_of("choices", [Passage(f"question {'ab'[i]}", ("a", "b", "c", "d")) for i in range(2)])
    evidence = speakers.evidence_of(speakers.Speaker(), task)
    evidence.logits()
    assert evidence.passes.forward == 2


def test_log_odds_are_never_held_for_more_than_a_chunk_and_each_token_is_said_once(monkeypatch):
    monkeypatch.setattr(windows, "SAID", 4 * 30 * 7)
    monkeypatch.setattr(windows, "ROWS", 1)
    rows = {"base": [], "mine": []}

    class Counting(speakers.Speaker):
        def said(self, states):
            rows[self.called].append(len(states))
            return super().said(states)

    task = speakers.documents(["the dog ran home to the cat. " * 9, "a cat."])
    evidence = []
    for name, moved in (("base", 0.0), ("mine", 0.2)):
        speaker = Counting(moved=moved)
        speaker.called = name
        reference = evidence[0] if evidence else None
        evidence.append(speakers.evidence_of(speaker, task, reference=reference))
        found = tokens.documents(evidence[-1])
    count = len(found["token"])
    assert max(rows["base"] + rows["mine"]) <= 7
    assert (sum(rows["base"]), sum(rows["mine"])) == (2 * count, count), (
        "the baseline's head once more for the candidate"
    )
    assert [one.passes.forward for one in evidence] == [2, 2], "each body once over each document"
    tokens.documents(evidence[1])
    assert sum(rows["mine"]) == count


def test_states_that_are_many_lie_in_a_file_without_a_name_and_say_the_same(monkeypatch, tmp_path):
    task = speakers.documents(["the dog ran home to the cat. " * 9, "a cat."])

    def divergence():
        base = speakers.evidence_of(speakers.Speaker(), task)
        mine = speakers.evidence_of(speakers.Speaker(moved=0.2), task, reference=base)
        return tokens.documents(mine)["divergence"]

    plain = divergence()
    monkeypatch.setattr(tokens, "_LARGE", 1)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert torch.equal(divergence(), plain)
    assert not list(tmp_path.iterdir())


def window(*inputs, place=0):
    return Window(tuple(inputs), (Said(len(inputs), (9,), place),))


@pytest.mark.known_answer
def test_windows_that_begin_alike_are_read_together_where_that_spares_tokens():
    question, other = range(10, 20), range(30, 36)
    some = [window(*question, k, k) for k in (1, 2, 3)]
    pair = [window(*other, 5), window(*other, 6, 7)]
    far = [window(10, 2, 3, 4, 5), window(60, 61)]
    trunks, alone = windows.trunks(windows.merged([*far, *some, *pair]), 1000)
    assert [(one.size, sorted(w.inputs for w in one.windows)) for one in trunks] == [
        (10, [w.inputs for w in some]),
        (6, [w.inputs for w in pair]),
    ]
    assert sorted(w.inputs for w in alone) == sorted(w.inputs for w in far)
    assert windows.trunks(windows.merged(some), 30) == ([], windows.merged(some)), "they do not fit in a batch together"


@pytest.mark.known_answer
def test_a_long_beginning_of_all_counts_more_than_a_short_one_of_few():
    """Twenty tokens before all of four questions: read once for eight windows they spare 140; two by two 4 times 21."""
    shots = range(100, 120)
    every = [window(*shots, question, k, 1) for question in (1, 2, 3, 4) for k in (5, 6)]
    (one,), alone = windows.trunks(windows.merged(every), 1000)
    assert (one.size, len(one.windows), alone) == (20, 8, [])


def upto(row, there=None):
    """States that are all the tokens up to each place, which is what a state hangs on."""
    there = torch.ones(len(row), dtype=torch.bool) if there is None else there
    return [tuple(row[: at + 1][there[: at + 1]].tolist()) for at in range(len(row))]


def said_alone(every):
    """From which tokens every token is said, and which it is, by its number."""
    return {
        said.place + i: (one.inputs[: said.stop - len(said.targets) + i + 1], target)
        for one in every
        for said in one.said
        for i, target in enumerate(said.targets)
    }


def said_together(trunks, most):
    found = {}
    for some in windows.bundles(trunks, most):
        bundle, places = windows.bundled(some)
        read = [one for trunk in some for one in trunk.windows]
        assert len(some) == 1 or len(read) * (bundle.trunks.shape[1] + bundle.branches.shape[1]) <= most
        begun = [upto(*one) for one in zip(bundle.trunks, bundle.there, strict=True)]
        owned = zip(bundle.branches, bundle.owners.tolist(), strict=True)
        gone = [[begun[at][-1] + one for one in upto(row)] for row, at in owned]
        states = [one for row in begun + gone for one in row]
        at, targets, numbers = (one.tolist() for one in windows.saying(read, places))
        found |= {n: (states[a], t) for a, t, n in zip(at, targets, numbers, strict=True)}
    return found


def questions(rng, count=6):
    place = 0
    for question in range(count):
        begin = [rng.randrange(50) for _ in range(rng.randrange(1, 12))]
        for _ in range(rng.randrange(1, 5)):
            own = [rng.randrange(50) for _ in range(rng.randrange(1, 5))]
            yield windows.continuation([question, *begin], own, 40, place)
            place += len(own)


@pytest.mark.parametrize("seed", range(20))
def test_every_window_is_said_from_where_its_states_stand(seed):
    every = list(questions(random.Random(seed)))
    trunks, alone = windows.trunks(windows.merged(every), 64)
    assert trunks
    assert said_together(trunks, 64) | said_alone(alone) == said_alone(every)
