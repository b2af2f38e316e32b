"""Checkpoints of llama2.c: every number in its place, the tokenizer's cuts, and what is none of them."""

import importlib.util
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from whatelse import opening
from whatelse.errors import ArtifactError, TaskError
from whatelse.models import llama2c

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parent / "language.py")
models = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(models)
SIZES = (16, 24, 2, 4, 2, 280, 32)  # dim, hidden, layers, heads, few, vocabulary, longest


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "t.txt").write_text("a b c", "utf-8")
    return opening.load_task(str(tmp_path / "t.txt"))


def written(place, *, tied=True, seed=0):
    """Write a checkpoint of random numbers with a tokenizer of bytes and letters; return its tensors."""
    dim, hidden, layers, heads, few, vocab, longest = SIZES
    rng = np.random.default_rng(seed)
    kv = few * dim // heads
    shapes = {"emb": (vocab, dim), "att": (layers, dim), "q": (layers, dim, dim), "k": (layers, kv, dim)}
    shapes |= {"v": (layers, kv, dim), "o": (layers, dim, dim), "ffn": (layers, dim), "w1": (layers, hidden, dim)}
    shapes |= {"w2": (layers, dim, hidden), "w3": (layers, hidden, dim), "last": (dim,)}
    shapes["turns"] = (longest, dim // heads)
    shapes |= {} if tied else {"head": (vocab, dim)}
    held = {name: rng.normal(size=shape).astype("<f4") * 0.3 for name, shape in shapes.items()}
    told = (dim, hidden, layers, heads, few, vocab if tied else -vocab, longest)
    (place / "m.bin").write_bytes(struct.pack("<7i", *told) + b"".join(t.tobytes() for t in held.values()))
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), " ", *"abcdefgh"]
    pieces += [" a", "ab", " ab", "cd", *(f"x{i}" for i in range(280 - len(pieces) - 4))]
    with (place / "tok280.bin").open("wb") as file:
        file.write(struct.pack("<i", 5))
        for at, piece in enumerate(pieces):
            file.write(struct.pack("<fi", -float(at), len(piece)) + piece.encode())
    return held


def run(held, ids):
    """What llama2.c computes, one token after the other, as its run.c has it."""
    dim, _, layers, heads, few, _, _ = SIZES
    size, said = dim // heads, []
    keys, values = [[] for _ in range(layers)], [[] for _ in range(layers)]

    def norm(x, w):
        return w * x / np.sqrt((x * x).mean() + 1e-5)

    for pos, token in enumerate(ids):
        x = held["emb"][token].astype(float)
        for at in range(layers):
            h = norm(x, held["att"][at])
            q, k, v = (held[n][at] @ h for n in "qkv")
            for vec in (q, k):
                for i in range(0, len(vec), 2):
                    turn = pos / 10000 ** ((i % size) / size)
                    a, b = vec[i], vec[i + 1]
                    vec[i] = a * np.cos(turn) - b * np.sin(turn)
                    vec[i + 1] = a * np.sin(turn) + b * np.cos(turn)
            keys[at].append(k)
            values[at].append(v)
            out = np.zeros(dim)
            for head in range(heads):
                own, theirs = slice(head * size, (head + 1) * size), head // (heads // few) * size
                part = slice(theirs, theirs + size)
                scores = np.array([q[own] @ past[part] for past in keys[at]]) / np.sqrt(size)
                weights = np.exp(scores - scores.max())
                out[own] = (weights / weights.sum()) @ np.array([past[part] for past in values[at]])
            x = x + held["o"][at] @ out
            h = norm(x, held["ffn"][at])
            gate = held["w1"][at] @ h
            x = x + held["w2"][at] @ (gate / (1 + np.exp(-gate)) * (held["w3"][at] @ h))
        said.append(held.get("head", held["emb"]) @ norm(x, held["last"]))
    return np.array(said)


@pytest.mark.known_answer
@pytest.mark.parametrize("tied", [True, False])
def test_it_says_what_run_c_says(tied, texts, tmp_path):
    held = written(tmp_path, tied=tied)
    model = opening.open_model(str(tmp_path / "m.bin"), texts)
    ids = [1, 260, 261, 5, 268, 100, 279]
    said = model.said(model.states(torch.tensor([ids]))[0]).double().numpy()
    wanted = run(held, ids)
    assert np.abs(said - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert model.cut("ab", whole=True) == [1, 270]  # "<s>", then " ab": merged from " a" and "b", the best score first
    assert model.cut("é", whole=False) == [259, 3 + 0xC3, 3 + 0xA9]
    assert (model.longest, model.vocabulary, model.start) == (32, 280, 1)


@pytest.mark.known_answer
def test_stories_are_those_of_the_same_weights_put_together_by_hand(texts, tmp_path):
    if not models.DATA.is_dir():
        pytest.skip("stories260K is not at hand (WHATELSE_DATA)")
    with warnings.catch_warnings(action="ignore"):
        by_hand = opening.open_model(str(models.stories(tmp_path / "m")), texts)
    model = opening.open_model(str(models.DATA / "stories260K.bin"), texts)
    text = "Once upon a time, there was a little girl named Lily. É!"
    assert model.cut(text, whole=True) == by_hand.cut(text, whole=True)
    ids = torch.tensor([model.cut(text, whole=True)])
    assert torch.equal(model.states(ids), by_hand.states(ids))


def test_what_is_none_is_one_line(texts, tmp_path):
    written(tmp_path)
    path = tmp_path / "m.bin"
    with pytest.raises(ArtifactError, match="has its own weights"):
        opening.open_model(str(path), texts, "w.safetensors")
    with pytest.raises(TaskError, match="reads texts, the data are images"):
        opening.open_model(str(path), opening.load_task("digits"))
    (tmp_path / "tok280.bin").write_bytes((tmp_path / "tok280.bin").read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="it holds no 280 pieces"):
        opening.open_model(str(path), texts)
    (tmp_path / "tok280.bin").unlink()
    with pytest.raises(ArtifactError, match=r"no tokenizer beside it, tok280.bin or tokenizer.bin"):
        opening.open_model(str(path), texts)
    path.write_bytes(path.read_bytes() + b"0000")
    assert llama2c.sizes(str(path)) is None
    with pytest.raises(ArtifactError, match="weights without a model|is code|name the model|it is"):
        opening.open_model(str(path), texts)
    assert llama2c.sizes(str(tmp_path)) is None
    assert llama2c.sizes("\0") is None
