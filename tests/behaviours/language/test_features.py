import numpy as np
import pytest
import torch

from whatelse.behaviours.language import features
from whatelse.behaviours.mechanism import _features
from whatelse.errors import NotMeasurableError
from whatelse.testing import speakers

CONFIG = features.Config(atoms=6, examples=4, tokens=20)


class Without(speakers.Speaker):
    """A speaker whose states lost what lies along one direction."""

    def __init__(self, direction):
        super().__init__()
        self.direction = torch.nn.functional.normalize(direction, dim=0)

    def states(self, tokens):
        whole = super().states(tokens)
        return whole - (whole @ self.direction)[..., None] * self.direction


def slow(texts, models, frozen, most=20):
    """Codes of every letter of each text, letter by letter, by two speakers."""
    found = []
    for text in texts:
        ids = models[0].cut(text, whole=True)[:most]
        codes = []
        for at in range(len(ids)):
            row = []
            for model in models:
                state = torch.zeros(8, dtype=torch.float64)
                for token in [model.start, *ids[:at]]:
                    state = state / 2 + model.table[token].double()
                scaled = state / frozen["scale"].double() - frozen["center"].double()
                row.append((frozen["encoder"].double() @ scaled + frozen["bias"].double()).clamp(min=0))
            codes.append(torch.cat(row))
        found.append(torch.stack(codes).numpy())
    return found


@pytest.mark.known_answer
def test_features_are_correlated_over_the_tokens_of_drawn_documents(pair, texts, rng, monkeypatch):
    held = {}
    fit = _features.fit
    monkeypatch.setattr(_features, "fit", lambda *given: held.setdefault("frozen", fit(*given)))
    answer = features.compare(*pair, CONFIG, rng)
    models = [one.subject.source for one in pair]
    codes = slow(texts, models, held["frozen"])
    for weights in ([1, 1, 1, 1], [0, 2, 3, 1]):
        drawn = np.concatenate([one for one, times in zip(codes, weights, strict=True) for _ in range(times)])
        want = []
        for at in range(6):
            x, y = drawn[:, at], drawn[:, 6 + at]
            want.append(np.nan if np.ptp(x) == 0 else 0.0 if np.ptp(y) == 0 else np.corrcoef(x, y)[0, 1])
        got = features.by_part(answer, CONFIG, np.array([weights], dtype=float))[0]
        assert got == pytest.approx(np.array(want), abs=1e-4, nan_ok=True)
        active = ~np.isnan(want)
        share = (np.array(want)[active] > 0.9).mean()
        assert features.summarise(answer, CONFIG, np.array([weights], dtype=float)) == pytest.approx([share])
    assert answer["units"].tolist() == [min(20, len(text)) for text in texts]


def test_identity_is_exactly_one(pair, texts, ones, rng):
    same = speakers.evidence_of(speakers.Speaker(), speakers.documents(texts), reference=pair[0])
    for one in (pair[0], same):
        answer = features.compare(pair[0], one, CONFIG, rng)
        assert features.summarise(answer, CONFIG, ones(answer)).tolist() == [1.0]


@pytest.mark.known_answer
def test_a_feature_that_is_cut_out_is_the_one_that_is_damaged(pair, texts, ones, rng):
    base = pair[0]
    whole = features.compare(base, base, CONFIG, rng)
    frozen = base.once(f"language features {features.VERSION} states of 4 documents, 20 tokens atoms=6", lambda: None)
    kept = ~np.isnan(features.by_part(whole, CONFIG, ones(whole))[0])
    for at in np.flatnonzero(kept)[:3]:
        direction = frozen["encoder"][at]
        other = speakers.evidence_of(Without(direction), speakers.documents(texts), name="cut", reference=base)
        answer = features.compare(base, other, CONFIG, rng)
        parts = features.by_part(answer, CONFIG, ones(answer))[0]
        assert parts[at] == pytest.approx(0, abs=1e-6)
        assert np.nanargmin(parts) == at
        assert "1 were damaged" in answer.notes[1] or (parts < 0.5).sum() > 1


def test_models_that_cannot_be_held_against_each_other_are_told(pair, texts, rng, monkeypatch):
    class Wide(speakers.Speaker):
        def states(self, tokens):
            return torch.cat([super().states(tokens)] * 2, -1)

        def said(self, states):
            return super().said(states[:, :8])

    wide = speakers.evidence_of(Wide(), speakers.documents(texts), name="wide", reference=pair[0])
    with pytest.raises(NotMeasurableError, match="needs states of one width: wide has 16 numbers, the baseline 8"):
        features.compare(pair[0], wide, CONFIG, rng)
    monkeypatch.setattr(_features, "explained", lambda *given: 0.01)
    with pytest.raises(NotMeasurableError, match="one of 6 atoms explains 1% of their variance"):
        features.compare(*pair, CONFIG, rng)
