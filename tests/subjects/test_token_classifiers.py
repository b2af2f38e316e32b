"""Folders of transformers that label words: answered as their own pipeline does, or refused in one line."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

import whatelse
from whatelse import opening
from whatelse.auditing import questions
from whatelse.errors import ArtifactError, TaskError

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
STARTS = ("ada", "lov", "par", "met", "saw", "in", "the", "old")
LONGEST = 24
SHORT = """
name = "short"
title = "Short"
draws = 100
rows = [{ name = "all", title = "All" }]
"""
ASKED = {
    "generalization.accuracy": "accuracy",
    "generalization.macro_accuracy": "macro",
    "generalization.entity_f1": "f1",
    "generalization.flips": "flips",
    "generalization.likelihood": "likelihood",
    "fairness.gap": "gap",
    "membership.loss": "membership",
    "attribution.agreement": "attribution",
    "mechanism.cka": "cka",
    "robustness.accuracy": "attack",
    "efficiency.bytes": "bytes",
    "efficiency.parameters": "parameters",
    "efficiency.macs": "macs",
}
SHORT += "".join(
    f'[[measurements]]\nrow = "all"\nitem = "{item}"\nlabel = "{label}"\nmargin = 0.02\n{"primary = true" * (not i)}\n'
    for i, (item, label) in enumerate(ASKED.items())
)


def tokenizer(**given):
    """Words of more than three letters are two pieces, as WordPiece cuts them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *STARTS, "##elace", "##is", "##er"]
    inner = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=LONGEST, **special | given)


def bert(place, labels=LABELS, seed=0, dtype=torch.float32, **tokenizing):
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    config = transformers.BertConfig(
        vocab_size=15, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, **names,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        torch.default_generator.manual_seed(seed)
        model = transformers.BertForTokenClassification(config)
        with torch.no_grad():  # as drawn, all answers are alike
            for parameter in model.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape))
        model.to(dtype).save_pretrained(place)
        tokenizer(**tokenizing).save_pretrained(place)
    return str(place)


def rows(count=80, seed=0):
    rng = np.random.default_rng(seed)
    words = [start + end for start in STARTS for end in ("", "elace", "is", "er")] + ["unknown", "well-known"]
    found = []
    for i in range(count):
        n = int(rng.integers(1, 8))
        tags = [str(t) for t in rng.choice(LABELS, n)]
        found.append({"tokens": [str(w) for w in rng.choice(words, n)], "ner_tags": tags, "source": "ab"[i % 2]})
    return found


def written(some, file):
    file.write_text("".join(json.dumps(row) + "\n" for row in some))
    return str(file)


def task_of(file, **more):
    told = {"split": "test", "classes": ",".join(LABELS), "groups": "source"} | more
    return opening.load_task(opening.data_text(file, {name: value for name, value in told.items() if value}))


@pytest.fixture
def task(tmp_path):
    return task_of(written(rows(), tmp_path / "said.jsonl"))


@torch.no_grad()
def by_hand(place, task, split="test", model=None):
    """One sentence after the other, as the examples of transformers do: the first piece of every word counts."""
    with warnings.catch_warnings(action="ignore"):
        reads = transformers.AutoTokenizer.from_pretrained(place)
        model = model or transformers.AutoModelForTokenClassification.from_pretrained(place)
    known = {}
    for at, words in enumerate(task.sentences):
        read = reads(list(words), is_split_into_words=True, return_tensors="pt")
        logits, owners = model(**read).logits[0].float(), read.word_ids(0)
        known |= {(at, word): logits[owners.index(word)] for word in range(len(words))}
    return torch.stack([known[at, word] for at, word in task.split(split).inputs.int().tolist()])


@pytest.mark.known_answer
def test_words_are_answered_as_by_a_plain_loop_over_sentences(task, tmp_path):
    place = bert(tmp_path / "ner")
    found = opening.open_model(place, task)
    for split in ("test", "select"):
        torch.testing.assert_close(found.recorded(split), by_hand(place, task, split), rtol=1e-5, atol=1e-5)
    assert f"read {len(task.sentences)} sentences once, by its own tokenizer" in found.remarks[0]


@pytest.mark.known_answer
def test_words_are_answered_as_by_the_pipeline_of_transformers(tmp_path):
    """It takes the class of the first piece, and its probability; of words between spaces, which it finds itself."""
    place = bert(tmp_path / "ner")
    some = [{**row, "tokens": [w for w in row["tokens"] if "-" not in w] or ["ada"]} for row in rows(30)]
    some = [{**row, "ner_tags": row["ner_tags"][: len(row["tokens"])]} for row in some]
    task = task_of(written(some, tmp_path / "said.jsonl"))
    with warnings.catch_warnings(action="ignore"):
        said = transformers.pipeline("token-classification", place, aggregation_strategy="none", ignore_labels=[])
        first = transformers.pipeline("token-classification", place, aggregation_strategy="first", ignore_labels=[])
    chances = opening.open_model(place, task).recorded("test").softmax(1)
    at = {pair: i for i, pair in enumerate(map(tuple, task.test.inputs.int().tolist()))}
    for number, words in enumerate(task.sentences):
        if (number, 0) not in at:
            continue
        line = " ".join(words)
        starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
        pieces = {one["start"]: one for one in said(line)}
        merged = [one["entity_group"] for one in first(line)]
        for place_, start in enumerate(starts):
            mine, theirs = chances[at[number, place_]], pieces[int(start)]
            assert LABELS[int(mine.argmax())] == theirs["entity"]
            assert float(mine.max()) == pytest.approx(float(theirs["score"]), abs=1e-5)
        kinds = [LABELS[int(chances[at[number, i]].argmax())].partition("-")[2] or "O" for i in range(len(words))]
        assert set(merged) <= set(kinds)


@pytest.mark.known_answer
def test_labels_are_matched_by_name(task, tmp_path):
    turned = (*LABELS[1:], LABELS[0].lower())
    place = bert(tmp_path / "ner", labels=turned)
    with pytest.warns(UserWarning, match="put into the order of the data's classes: O, B-PER"):
        found = opening.open_model(place, task)
    torch.testing.assert_close(found.recorded("test"), by_hand(place, task)[:, [4, 0, 1, 2, 3]], rtol=1e-5, atol=1e-5)


def small(place, kind, target):
    """A smaller folder, as transformers writes it."""
    with warnings.catch_warnings(action="ignore"):
        auto = transformers.AutoModelForTokenClassification
        if kind == "bfloat16":
            made = auto.from_pretrained(place, dtype=torch.bfloat16)
        else:
            pytest.importorskip("accelerate", reason="transformers places quantized models by it")
            quantization = pytest.importorskip("torchao.quantization")
            given = transformers.TorchAoConfig(quantization.Int8WeightOnlyConfig())
            made = auto.from_pretrained(place, quantization_config=given, device_map="cpu")
        made.save_pretrained(target)
        transformers.AutoTokenizer.from_pretrained(place).save_pretrained(target)
    return str(target), made


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["bfloat16", "torchao"])
def test_a_pair_is_audited_word_by_word_with_sentences_drawn_whole(kind, tmp_path):
    base = bert(tmp_path / "base")
    place, made = small(base, kind, tmp_path / "small")
    members = written(rows(30, 1), tmp_path / "members.jsonl")
    data = {"split": "", "members": members}
    task = task_of(written(rows(), tmp_path / "said.jsonl"), **data)
    models = [opening.open_model(one, task) for one in (base, place)]
    want, before = by_hand(place, task, model=made), by_hand(base, task)
    near = 1e-5 if kind == "torchao" else 0.05  # batches of bfloat16 round otherwise than single sentences
    torch.testing.assert_close(models[1].recorded("test"), want, rtol=near, atol=near)
    found = whatelse.audit(models[0], {"c": models[1]}, task, questions.read_questions(SHORT))
    assert found.failed == ()
    told = {f.label: f for f in found.findings if f.leading}
    said, targets = models[1].recorded("test"), task.test.targets
    assert told["accuracy"].before == pytest.approx(float((before.argmax(1) == targets).float().mean()), abs=1e-6)
    assert told["accuracy"].after == pytest.approx(float((said.argmax(1) == targets).float().mean()), abs=1e-6)
    assert told["likelihood"].after == pytest.approx(float(functional.cross_entropy(said, targets)), abs=1e-5)
    drawn = len({tuple(row["tokens"]) for row in rows()}) - len(torch.unique(task.split("select").clusters))
    assert (told["accuracy"].n, told["accuracy"].clusters) == (len(targets), drawn)
    for label in ("macro", "f1", "flips", "gap", "membership"):
        assert told[label].after is not None, told[label]
    for label in ("attribution", "cka", "attack", "macs"):
        assert told[label].after is None
        assert told[label].why.startswith("needs "), told[label].why
    assert told["bytes"].after < 0.8 * told["bytes"].before
    whole = transformers.AutoModelForTokenClassification.from_pretrained(base)
    assert told["bytes"].before == sum(4 * p.numel() for p in whole.parameters())
    assert told["parameters"].before == pytest.approx(told["parameters"].after, rel=0.05)


def test_a_folder_and_a_file_are_all_that_a_user_types(tmp_path, monkeypatch):
    bert(tmp_path / "ner")
    bert(tmp_path / "small", dtype=torch.bfloat16)
    written(rows(), tmp_path / "sentences.jsonl")
    monkeypatch.chdir(tmp_path)
    found = whatelse.audit(
        "./ner", {"small": "./small"}, "sentences.jsonl", questions.read_questions(SHORT), on="inline"
    )
    assert found.failed == ()
    assert next(f for f in found.findings if f.leading and f.label == "f1").after is not None


def test_scores_that_were_recorded_of_words_are_a_model(task, tmp_path):
    scores = torch.randn(len(task.test), task.classes, generator=torch.Generator().manual_seed(0))
    np.savez(tmp_path / "scores.npz", test_logits=scores.numpy())
    found = opening.open_model(str(tmp_path / "scores.npz"), task)
    assert torch.equal(found.recorded("test"), scores)


def too_long():
    words = ["lovelace"] * (LONGEST // 2)
    return [*rows(), {"tokens": words, "ner_tags": ["O"] * len(words), "source": "a"}]


def unseen():
    return [*rows(), {"tokens": ["ada", "\u200b", "saw"], "ner_tags": ["O"] * 3, "source": "a"}]


def tagged(*names):
    """The sentences, with tags of these names in turn."""
    some = [row for row in rows() if len(row["tokens"]) > 1]
    return [row | {"ner_tags": [names[i % 2] for i in range(len(row["tokens"]))]} for row in some]


BAD = {
    "long": (
        too_long, {},
        rf"1 of \d+ sentences are longer than the {LONGEST} tokens that .* takes, the longest has 26, 'lovelace",
    ),
    "unseen": (unseen, {}, r"makes nothing of 1 words, such as '\\u200b' in 'ada "),
    "more": (rows, {"classes": ",".join((*LABELS, "B-ORG"))}, "those of the data are O, B-PER.*; name them alike"),
    "other": (
        lambda: tagged("NOUN", "VERB"), {"classes": ""},
        "the classes of .* are O, B-PER, I-PER, B-LOC, I-LOC; those of the data are NOUN, VERB; name them alike",
    ),
    "some": (
        lambda: tagged("O", "B-PER"), {"classes": ""},
        r"those of the data are B-PER, O; say all of them \(--classes O,B-PER,I-PER,B-LOC,I-LOC\)",
    ),
    "numbers": (
        lambda: tagged(0, 1), {"classes": ""},
        r"has 5 labels, the data have 2; name all of them in the order of its outputs \(--classes ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_would_mislead_is_refused_in_one_line(what, tmp_path):
    make, told, message = BAD[what]
    place = bert(tmp_path / "ner")
    task = task_of(written(make(), tmp_path / "bad.jsonl"), **told)
    with pytest.raises((ArtifactError, TaskError), match=message) as error:
        opening.open_model(place, task)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_models_and_data_of_other_kinds_are_refused(task, tmp_path):
    place = bert(tmp_path / "ner")
    plain = "".join(f'{{"said": "w{i} met ada", "label": "{"ab"[i % 2]}"}}\n' for i in range(40))
    (tmp_path / "plain.jsonl").write_text(plain)
    texts = opening.load_task(f"table(path={str(tmp_path / 'plain.jsonl')!r}, label='label', text='said')")
    with pytest.raises(
        TaskError, match="takes words, the data are tokens; rows with a list of words and a list of tags"
    ):
        opening.open_model(place, texts)
    (tmp_path / "net.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(2, 5)\n")
    with pytest.raises(
        TaskError, match="takes tensors, the data are words of sentences; what reads these is a Hugging"
    ):
        opening.open_model(f"{tmp_path / 'net.py'}:make", task)
    with pytest.raises(TaskError, match="takes tensors, the data are words of sentences"):
        whatelse.audit(torch.nn.Linear(2, 5), {"c": torch.nn.Linear(2, 5)}, task, questions.read_questions(SHORT))
    config = json.loads((tmp_path / "ner" / "config.json").read_text())
    (tmp_path / "ner" / "config.json").write_text(json.dumps(config | {"architectures": ["BertForQuestionAnswering"]}))
    with pytest.raises(
        ArtifactError, match="names BertForQuestionAnswering; one that ends in .*ForTokenClassification"
    ):
        opening.open_model(place, task)


def test_a_tokenizer_that_cannot_tell_words_is_refused(task, tmp_path):
    place = bert(tmp_path / "ner", pad_token=None)
    with pytest.raises(ArtifactError, match="it cannot read the sentences of the data: .*padding token"):
        opening.open_model(place, task)
    (tmp_path / "ner" / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match="its Tokenizer cannot be loaded"):
        opening.open_model(place, task)
