"""Folders that transformers wrote: opened with their own processor or tokenizer, or refused in one line."""

import json
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

import whatelse
from whatelse import opening
from whatelse.auditing import questions
from whatelse.errors import ArtifactError, TaskError, Told
from whatelse.models import subject, take
from whatelse.study import handed
from whatelse.tasks.task import Split, Task
from whatelse.testing import samples

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
NAMES = [f"digit {i}" for i in range(10)]
SHORT = """
name = "short"
title = "Short"
draws = 100
rows = [{ name = "all", title = "All" }]
[[measurements]]
row = "all"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.02
primary = true
[[measurements]]
row = "all"
item = "generalization.likelihood"
label = "likelihood"
margin = 0.02
[[measurements]]
row = "all"
item = "attribution.agreement"
label = "attribution"
settings = { examples = 20 }
margin = 0.02
[[measurements]]
row = "all"
item = "mechanism.cka"
label = "cka"
margin = 0.02
"""
REBUILT = """
[[measurements]]
row = "all"
item = "leakage.inversion"
label = "rebuilt"
settings = { images = 1, iterations = 3 }
margin = 1.0
"""


@contextmanager
def seeded(seed=0):
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        torch.default_generator.manual_seed(seed)
        yield


def vit(place, seed=0, labels=None, channels=1, **processing):
    """A small vision transformer, its weights as drawn."""
    size = {"image_size": 8, "patch_size": 4, "num_channels": channels, "num_labels": 10}
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with seeded(seed):
        names = (
            {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}} if labels else {}
        )
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**size, **small, **names))
        with torch.no_grad():  # as drawn, all answers are alike
            for parameter in model.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape))
        model.save_pretrained(place)
        given = {"do_resize": False, "image_mean": [0.4] * channels, "image_std": [0.3] * channels} | processing
        transformers.ViTImageProcessor(**given).save_pretrained(place)
    return str(place)


def opened(place, task):
    with warnings.catch_warnings():
        warnings.simplefilter("error", Told)
        return opening.open_model(place, task)


@pytest.fixture(scope="module")
def digits():
    whole = opening.load_task("digits")
    kept = {name: split.take(torch.arange(min(120, len(split)))) for name, split in whole.splits.items()}
    return replace(whole, splits=kept, class_names=tuple(NAMES))


@torch.no_grad()
def by_hand(place, x, brightest=1):
    """As its documentation does: the processor, the model, one picture after the other."""
    with warnings.catch_warnings(action="ignore"):
        processor = transformers.AutoImageProcessor.from_pretrained(place)
        model = transformers.AutoModelForImageClassification.from_pretrained(place)
    wide = [(row * 255 / brightest).round().to(torch.uint8).numpy() for row in x]
    made = [processor(row, return_tensors="pt", input_data_format="channels_first")["pixel_values"] for row in wide]
    return torch.cat([model(pixel_values=pixels).logits for pixels in made])


@pytest.mark.known_answer
def test_two_folders_are_audited_as_their_own_processor_has_them(digits, tmp_path):
    x = (digits.test.inputs * 255).round() / 255
    task = replace(
        digits, splits={n: replace(s, inputs=(s.inputs * 255).round() / 255) for n, s in digits.splits.items()}
    )
    base, small = vit(tmp_path / "base", labels=NAMES), vit(tmp_path / "small", seed=1, labels=NAMES)
    asked = questions.read_questions(SHORT + REBUILT)  # its attention is differentiated twice
    found = whatelse.audit(opened(base, task), {"c": opened(small, task)}, task, asked)
    assert found.failed == ()
    told = {f.label: f for f in found.findings if f.leading}
    want = by_hand(small, x)
    assert told["accuracy"].after == pytest.approx(float((want.argmax(1) == task.test.targets).float().mean()))
    assert told["likelihood"].after == pytest.approx(float(functional.cross_entropy(want, task.test.targets)), abs=1e-4)
    assert all(f.after is not None for f in told.values()), told


@pytest.mark.known_answer
def test_a_processor_that_resizes_is_used_itself_and_gradients_are_not_claimed(digits, tmp_path):
    place = vit(tmp_path / "m", do_resize=True, size={"height": 8, "width": 8}, channels=3)
    task = replace(
        digits, splits={n: replace(s, inputs=s.inputs.repeat_interleave(2, 2)) for n, s in digits.splits.items()}
    )
    with pytest.warns(Told) as told:
        model = opening.open_model(place, task)
    lines = " ".join(str(one.message) for one in told)
    assert "outside of torch: gradients do not pass it" in lines
    assert "gray channel of the data is repeated 3 times" in lines
    x = task.test.inputs[:20]
    assert torch.allclose(model(x), by_hand(place, x.repeat(1, 3, 1, 1)), atol=1e-5)
    rng = torch.Generator().manual_seed(0)
    assert subject.of(model, "m", "k", x, rng, classes=10).offers == {"predicts", "opens"}


@pytest.mark.known_answer
def test_outputs_come_in_the_order_of_the_datas_classes(digits, tmp_path):
    place = vit(tmp_path / "m", labels=[*NAMES[1:], NAMES[0].upper()])
    with pytest.warns(Told, match="were put into the order of the data's classes: digit 0"):
        model = opening.open_model(place, digits)
    x = (digits.test.inputs[:20] * 255).round() / 255
    assert torch.allclose(model(x), by_hand(place, x)[:, [9, *range(9)]], atol=1e-5)


def test_a_key_holds_what_the_data_call_their_classes_and_what_a_processor_does(digits, tmp_path):
    place = vit(tmp_path / "m", labels=NAMES)
    other = replace(digits, class_names=(*NAMES[1:], NAMES[0]))
    assert other.key == digits.key
    assert handed.key_of(place, other) != handed.key_of(place, digits)
    # One of the hub has no files here: it is known by what it holds and prints.
    with warnings.catch_warnings(action="ignore", category=Told):
        keys = {take.key_of(opening.open_model(place, task), task) for task in (digits, other)}
    assert len(keys) == 2
    file = tmp_path / "m" / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": [0.25]}))
    assert take.key_of(opening.open_model(place, digits), digits) not in keys


def without(place, name):
    file = place / "model.safetensors"
    held = {n: t for n, t in load_file(file).items() if n != name}
    save_file(held, file, metadata={"format": "pt"})


def configured(place, **more):
    file = place / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | more))


BAD = {
    "head": (lambda p: without(p, "classifier.weight"), "no fitting weights for classifier.weight .1 in all"),
    "labels": (lambda p: None, "the classes of .* are cat, 1.*; those of the data are digit 0"),
    "processor": (lambda p: (p / "preprocessor_config.json").unlink(), "its ImageProcessor cannot be loaded"),
    "weights": (lambda p: (p / "model.safetensors").unlink(), "its ModelForImageClassification cannot be loaded"),
    "damaged": (lambda p: (p / "model.safetensors").write_bytes(b"x" * 64), "cannot be loaded"),
    "architecture": (lambda p: configured(p, architectures=["ViTModel"]), "its config.json names ViTModel; one that"),
    "kind": (lambda p: configured(p, architectures=["BertForQuestionAnswering"]), "with one label an example, or a"),
    "words": (
        lambda p: configured(p, architectures=["BertForTokenClassification"]),
        "takes words, the data are images",
    ),
    "size": (lambda p: configured(p, intermediate_size=2**32), "would take .* of memory; allowed are"),
    "code": (
        lambda p: configured(p, model_type="mine", auto_map={"AutoConfig": "mine.Config"}),
        "its Config cannot be loaded",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_would_mislead_is_refused_in_one_line(what, digits, tmp_path, monkeypatch):
    spoil, message = BAD[what]
    place = tmp_path / "m"
    vit(place, labels=["cat", *map(str, range(1, 10))] if what == "labels" else None)
    (place / "mine.py").write_text("raise SystemExit('it was run')")
    spoil(place)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    with pytest.raises((ArtifactError, TaskError), match=message) as told:
        opening.open_model(str(place), digits)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600


def test_a_pickle_is_opened_without_running_it_and_the_hub_without_a_network_is_one_line(digits, tmp_path, monkeypatch):
    place = tmp_path / "m"
    vit(place)
    want = opened(str(place), digits)(digits.test.inputs)
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    assert torch.equal(opened(str(place), digits)(digits.test.inputs), want)

    class Runs:
        def __reduce__(self):
            return (pytest.fail, ("it was run",))

    torch.save({"classifier.weight": Runs()}, place / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        opening.open_model(str(place), digits)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match=r"^hf:nobody/nothing: its Config cannot be loaded: [^\n]*$"):
        opening.open_model("hf:nobody/nothing", digits)


WORDS = ("", "(unknown)", *(f"w{i}" for i in range(28)))


def texts(words=WORDS, vocabulary=30):
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 30, (60, 6), generator=rng)
    ids[:, 4:] *= torch.rand(60, 1, generator=rng) > 0.5
    y = (ids[:, 0] > 15).long()
    splits = dict.fromkeys(("train", "calibration", "select", "test"), Split(ids.float(), y, y))
    return Task("t", 2, None, splits, vocabulary=vocabulary, words=words)


def bert(place, padding=0, words=WORDS):
    from tokenizers import Tokenizer, models, pre_tokenizers

    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, num_labels=2, pad_token_id=padding,
    )  # fmt: skip
    with seeded():
        model = transformers.BertForSequenceClassification(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape))
        model.save_pretrained(place)
        known = {"[PAD]": 0, "[UNK]": 1, **{w: i for i, w in enumerate(words) if i > 1}}
        inner = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", pad_token="[PAD]")
        made.save_pretrained(place)
    return str(place)


@pytest.mark.known_answer
def test_texts_are_answered_as_by_the_pipeline_of_its_own_tokenizer(tmp_path):
    task, place = texts(), bert(tmp_path / "m")
    model = opened(place, task)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    own = transformers.AutoModelForSequenceClassification.from_pretrained(place)
    lines = [" ".join(WORDS[int(i)] for i in row if i > 0) for row in task.test.inputs]
    with torch.no_grad():
        want = torch.cat([own(**tokenizer(line, return_tensors="pt")).logits for line in lines])
    assert torch.allclose(model(task.test.inputs), want, atol=1e-5)
    rng = torch.Generator().manual_seed(0)
    found = subject.of(model, "m", "k", task.test.inputs, rng, tokens=True, classes=2)
    assert found.offers == {"predicts", "differentiates", "opens"}
    assert found.entrance.endswith("word_embeddings")


def test_ids_of_another_vocabulary_are_refused(tmp_path):
    place = bert(tmp_path / "m")
    with pytest.raises(TaskError, match="knows 30 token ids, the data have 40; give ids of its own tokenizer"):
        opening.open_model(place, texts((), 40))
    with pytest.raises(
        TaskError, match="2 token ids stand for other words, such as 5 for 'w3' in .* for 'w4' in the data"
    ):
        opening.open_model(place, texts((*WORDS[:5], WORDS[6], WORDS[5], *WORDS[7:])))
    with pytest.raises(TaskError, match="pads with the id 3, and data here with 0"):
        opening.open_model(bert(tmp_path / "p", padding=3), texts())
    with pytest.warns(Told, match="are taken to be those of its own tokenizer"):
        opening.open_model(place, texts(()))


def test_images_that_are_no_pixels_and_data_of_another_kind_are_refused(digits, tmp_path):
    place = vit(tmp_path / "m")
    with pytest.raises(TaskError, match=r"bounds of the data are None, and \(0, 1\) or \(0, 255\) are needed"):
        opening.open_model(place, replace(digits, bounds=None))
    with pytest.raises(TaskError, match="takes images, the data are tokens"):
        opening.open_model(place, texts())
    with pytest.raises(ArtifactError, match="has its own weights; leave one of them out"):
        opening.open_model(place, digits, "w.safetensors")


@pytest.mark.known_answer
def test_texts_that_the_data_hold_are_read_by_the_models_own_tokenizer(tmp_path):
    """Ids of the data are those of another vocabulary: only what was written is the same for both."""
    known = texts()
    lines = tuple(" ".join(WORDS[int(i)] for i in row if i > 0) for row in known.test.inputs)
    lines = (" ".join(["w3"] * 40), *lines[1:])
    split = replace(known.test, inputs=known.test.inputs.clamp(max=7), texts=lines)
    task = Task("t", 2, None, dict.fromkeys(known.splits, split), vocabulary=8)
    base, small = bert(tmp_path / "base"), bert(tmp_path / "small")
    rolled = load_file(tmp_path / "small" / "model.safetensors")
    rolled["classifier.weight"] = rolled["classifier.weight"].roll(1, 1)
    save_file(rolled, tmp_path / "small" / "model.safetensors", metadata={"format": "pt"})
    own = transformers.AutoModelForSequenceClassification.from_pretrained(small)
    tokenizer = transformers.AutoTokenizer.from_pretrained(small)
    with torch.no_grad():
        read = [tokenizer(line, return_tensors="pt", truncation=True, max_length=16) for line in lines]
        want = torch.cat([own(**one).logits for one in read])
    found = whatelse.audit(opened(base, task), {"c": opened(small, task)}, task, questions.read_questions(SHORT))
    told = {f.label: f for f in found.findings if f.leading}
    assert told["accuracy"].after == pytest.approx(float((want.argmax(1) == task.test.targets).float().mean()))
    assert told["likelihood"].after == pytest.approx(float(functional.cross_entropy(want, task.test.targets)), abs=1e-4)
    assert "has recorded scores" in told["cka"].why
    assert "1 of test were cut at 16 tokens" in " ".join(told["accuracy"].validity)


@pytest.mark.known_answer
def test_a_file_of_texts_is_read_by_the_models_own_tokenizer(tmp_path):
    rng = torch.Generator().manual_seed(1)
    lines = [" ".join(WORDS[int(i)] for i in torch.randint(2, 30, (5,), generator=rng)) for _ in range(40)]
    rows = "".join(f"{line},{'up' if i % 2 else 'down'}\n" for i, line in enumerate(lines))
    (tmp_path / "said.csv").write_text(f"said,mood\n{rows}")
    data = f"table(path={str(tmp_path / 'said.csv')!r}, label='mood', text='said', split='test', select=0.25)"
    task, place = opening.load_task(data), bert(tmp_path / "m")
    own = transformers.AutoModelForSequenceClassification.from_pretrained(place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    with torch.no_grad():
        want = torch.cat([own(**tokenizer(line, return_tensors="pt")).logits for line in task.test.texts])
    found = opening.open_model(place, task).recorded("test")
    torch.testing.assert_close(found.softmax(1), want.softmax(1), rtol=1e-4, atol=1e-5)
    assert set(task.test.texts) | set(task.split("select").texts) == set(lines)


def quantized(kind):
    """What transformers writes with the settings of a quantized model into its folder."""
    if kind == "bitsandbytes":
        pytest.importorskip("bitsandbytes")
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    pytest.importorskip("accelerate", reason="transformers places quantized models by it")
    quantization = pytest.importorskip("torchao.quantization")
    return transformers.TorchAoConfig(quantization.Int8WeightOnlyConfig())


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["torchao", "bitsandbytes"])
def test_a_quantized_folder_answers_as_the_model_that_was_saved(kind, digits, tmp_path):
    place = vit(tmp_path / "base")
    with warnings.catch_warnings(action="ignore"):
        auto = transformers.AutoModelForImageClassification
        small = auto.from_pretrained(place, quantization_config=quantized(kind), device_map="cpu")
        small.save_pretrained(tmp_path / "small")
        (tmp_path / "small" / "preprocessor_config.json").write_bytes(
            (tmp_path / "base/preprocessor_config.json").read_bytes()
        )
        model = opening.open_model(str(tmp_path / "small"), digits)
        x = digits.test.inputs[:20]
        with torch.no_grad():
            want = small(pixel_values=(x - 0.4) / 0.3).logits
    assert torch.allclose(model(x), want, atol=1e-5)
    held = {type(p).__name__ for p in model.parameters()}
    assert held & {"Int8Tensor", "Int8Params"}


def test_a_folder_without_its_tokenizer_is_refused_though_the_library_makes_one_up(tmp_path):
    """That knows its special tokens alone: every word of every text would be the unknown one."""
    task, place = texts(), bert(tmp_path / "m")
    for left in Path(place).glob("*token*"):
        left.unlink()
    made_up = transformers.AutoTokenizer.from_pretrained(place)
    assert set(made_up("good bad")["input_ids"]) <= set(made_up.all_special_ids)
    with pytest.raises(ArtifactError, match=r"its Tokenizer cannot be loaded: it knows no words; .*save_pretrained"):
        opened(place, task)


def test_data_of_another_kind_say_what_is_needed(tmp_path):
    with pytest.raises(TaskError, match=r"takes tokens, the data are images; a column of texts .*--text COLUMN"):
        opened(bert(tmp_path / "m"), samples.images())
