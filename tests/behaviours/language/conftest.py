"""Language models of letters beside slow rewrites: no windows, no chunks, the whole distribution at every letter."""

import numpy as np
import pytest
import torch

from whatelse.models.recorded import RecordedScores
from whatelse.testing import speakers

TEXTS = ["the dog ran home.", "a cat.", "she saw the big red dog and the cat ran home to the dog.", "he sat."]


class Slow:
    """Every distribution of a speaker, letter by letter, in double precision."""

    def __init__(self, speaker, texts):
        self.counts, self.losses, self.logs = [], [], []
        for text in texts:
            ids = speaker.cut(text, whole=True)
            logs = []
            for at in range(len(ids)):
                state = torch.zeros(8, dtype=torch.float64)
                for token in [speaker.start, *ids[:at]]:
                    state = state / 2 + speaker.table[token].double()
                logs.append((speaker.head.double() @ state).log_softmax(0))
            self.counts.append(len(ids))
            self.losses.append([-float(log[token]) for log, token in zip(logs, ids, strict=True)])
            self.logs.append(torch.stack(logs))


@pytest.fixture
def texts():
    return list(TEXTS)


@pytest.fixture
def slow():
    return Slow


@pytest.fixture
def pair(texts):
    """Evidence of a speaker and of one that moved a little, on the texts."""
    task = speakers.documents(texts)
    base = speakers.evidence_of(speakers.Speaker(), task, name="baseline")
    return base, speakers.evidence_of(speakers.Speaker(moved=0.2), task, name="candidate", reference=base)


@pytest.fixture
def ones():
    return lambda answer: np.ones((1, len(answer)))


@pytest.fixture
def said():
    """Evidence of a model of which the log-likelihoods of all choices were recorded."""

    def make(scores, targets, form="choices"):
        task, held = speakers.scored(scores, targets, form)
        return speakers.recorded_of(RecordedScores(held), task)

    return make


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)
