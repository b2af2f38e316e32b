import numpy as np
import pytest
import scipy.stats
import torch

from whatelse.behaviours.language import _parts, mechanism
from whatelse.errors import NotMeasurableError
from whatelse.testing import speakers

CONFIG = mechanism.Config(examples=4, tokens=20)


def slow_effects(speaker, texts, by, most=20, scale=1.0):
    """The effect of each pair of places on each text, letter by letter, in double precision."""
    found = []
    for text in texts:
        ids = speaker.cut(text, whole=True)[:most]
        sums = [0.0] * 4
        for at, right in enumerate(ids):
            state = torch.zeros(8, dtype=torch.float64)
            for token in [speaker.start, *ids[:at]]:
                state = state / 2 + speaker.table[token].double()
            whole = (speaker.head.double() @ state / scale).log_softmax(0)
            for head in range(4):
                cut = state.clone()
                cut[2 * head : 2 * head + 2] = 0
                without = (speaker.head.double() @ cut / scale).log_softmax(0)
                far = (whole.exp() * (whole - without)).sum() if by == "divergence" else (whole - without)[right]
                sums[head] += float(far)
        found.append(sums)
    return np.array(found)


def spread(speaker, texts, most=20):
    """The standard deviation of log-odds over the letters, root mean square over all places."""
    found = []
    for text in texts:
        ids = speaker.cut(text, whole=True)[:most]
        for at in range(len(ids)):
            state = torch.zeros(8, dtype=torch.float64)
            for token in [speaker.start, *ids[:at]]:
                state = state / 2 + speaker.table[token].double()
            found.append(float((speaker.head.double() @ state).var(correction=0)))
    return np.mean(found) ** 0.5


@pytest.mark.known_answer
@pytest.mark.parametrize("by", ["divergence", "loss"])
def test_effects_are_those_of_a_model_without_the_part(pair, texts, rng, by):
    config = mechanism.Config(by, 4, 20)
    answer = mechanism.compare(*pair, config, rng)
    sizes = np.array([min(20, len(text)) for text in texts])
    assert answer["units"].tolist() == sizes.tolist()
    mean = []
    loud = spread(speakers.Speaker(moved=0.2), texts) / spread(speakers.Speaker(), texts)
    assert abs(loud - 1) > 0.01
    for when, moved, scale in (("before", 0.0, 1.0), ("after", 0.2, loud)):
        expected = slow_effects(speakers.Speaker(moved=moved), texts, by, scale=scale)
        for head in range(4):
            assert answer[f"{when} layer 0 head {head}"] == pytest.approx(expected[:, head], rel=1e-3, abs=1e-4)
        mean.append(expected.sum(0) / sizes.sum())
    score = scipy.stats.spearmanr(*mean).statistic
    ones = np.ones((1, 4))
    assert mechanism.summarise(answer, config, ones) == pytest.approx([score])
    assert mechanism.by_part(answer, config, ones) == pytest.approx(np.array([[score]]))
    drawn = np.array([[2.0, 0.0, 1.0, 0.0]])
    mean = [drawn[0] @ slow_effects(speakers.Speaker(moved=m), texts, by, scale=s) for m, s in ((0, 1), (0.2, loud))]
    assert mechanism.summarise(answer, config, drawn) == pytest.approx([scipy.stats.spearmanr(*mean).statistic])


def test_identity_is_exactly_one(texts, pair, ones, rng):
    same = speakers.evidence_of(speakers.Speaker(), speakers.documents(texts), reference=pair[0])
    for one in (pair[0], same):
        answer = mechanism.compare(pair[0], one, CONFIG, rng)
        assert mechanism.summarise(answer, CONFIG, ones(answer)).tolist() == [1.0]
        assert not any("moved most" in note for note in answer.notes)


@pytest.mark.known_answer
def test_heads_in_another_order_are_the_same_heads(texts, ones, rng):
    """Places of the state are exchanged in both tables: no answer changes."""

    class Turned(speakers.Speaker):
        """Writes its pairs where the others write them: what a permutation of heads of attention leaves as it is."""

        order = (2, 0, 3, 1)

        def left_out(self, part):
            return super().left_out(_parts.Part(0, self.order[part.head]))

        def written(self, tokens):
            yield from (each[list(self.order)] for each in super().written(tokens))

    task = speakers.documents(texts)
    base = speakers.evidence_of(speakers.Speaker(), task)
    mine = speakers.evidence_of(Turned(), task, reference=base)
    answer = mechanism.compare(base, mine, CONFIG, rng)
    assert mechanism.summarise(answer, CONFIG, ones(answer)).tolist() == [1.0]
    assert answer.notes[0] == "heads of layers 0 stand in another order, and are matched"


@pytest.mark.known_answer
def test_a_temperature_moves_no_order(texts, ones, rng):
    cold = speakers.Speaker()
    cold.head.mul_(0.7)
    task = speakers.documents(texts)
    base = speakers.evidence_of(speakers.Speaker(), task)
    mine = speakers.evidence_of(cold, task, reference=base)
    answer = mechanism.compare(base, mine, CONFIG, rng)
    assert mechanism.summarise(answer, CONFIG, ones(answer)) == pytest.approx([1.0])
    assert answer["after layer 0 head 1"] == pytest.approx(answer["before layer 0 head 1"], rel=1e-4)


@pytest.mark.known_answer
def test_a_part_that_is_gone_is_named(texts, ones, rng):
    gone = speakers.Speaker()
    base = speakers.evidence_of(speakers.Speaker(), speakers.documents(texts))
    strongest = int(np.argmax(slow_effects(gone, texts, "divergence").sum(0)))
    gone.head[:, 2 * strongest : 2 * strongest + 2] = 0
    mine = speakers.evidence_of(gone, speakers.documents(texts), reference=base)
    answer = mechanism.compare(base, mine, CONFIG, rng)
    assert not answer[f"after layer 0 head {strongest}"].any()
    assert mechanism.summarise(answer, CONFIG, ones(answer))[0] < 1
    assert f"moved most, in nats a token: layer 0 head {strongest}: " in answer.notes[-1]


def test_other_parts_are_not_compared(texts, pair, rng):
    class Fewer(speakers.Speaker):
        parts = tuple(_parts.Part(0, head) for head in range(3))

    class Nameless(speakers.Speaker):
        parts = ()

    task = speakers.documents(texts)
    for kind, text in ((Fewer, "other has 1 layers of 3 heads, the baseline 1 layers of 4"), (Nameless, "otherwise")):
        mine = speakers.evidence_of(kind(), task, name="other", reference=pair[0])
        with pytest.raises(NotMeasurableError, match=text):
            mechanism.compare(pair[0], mine, CONFIG, rng)
    mute = speakers.Speaker()
    mute.head.zero_()
    base = speakers.evidence_of(mute, task)
    with pytest.raises(NotMeasurableError, match="leaving out any of the baseline's changes nothing"):
        mechanism.compare(base, base, CONFIG, rng)
