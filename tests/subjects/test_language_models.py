"""Folders of language models: what lm-eval makes of them, what two of them differ by, and what is wrong in one line."""

import importlib.util
import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch

import whatelse
from whatelse import items, opening
from whatelse.auditing import questions
from whatelse.errors import ArtifactError, TaskError, WhatElseError
from whatelse.evidence import tokens
from whatelse.models.causal import Causal
from whatelse.tasks.language import Passage
from whatelse.testing import speakers

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parent / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)

TEXTS = [
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 3,
    "A cat.",
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high. É, 模型! " * 2,
    "<s>The beginning stands here already.",
]
ITEMS = [
    ("Once upon a time,", [" there was", " a dog ran home", " the"]),
    ("Lily went ", ["to the park", "home", "x"]),
    ("", ["She was happy.", " A dog", "The cat sat on the mat"]),
    (TEXTS[0], [" The end.", " She", " dog and the other cat"]),
]


@pytest.fixture(scope="session", params=["stories", "llama", "gpt2"])
def folder(request, tmp_path_factory):
    place = tmp_path_factory.mktemp(request.param)
    with warnings.catch_warnings(action="ignore"):
        if request.param != "stories":
            return str(language.random(place, request.param))
        if not language.DATA.is_dir():
            pytest.skip("stories260K is not at hand (WHATELSE_DATA)")
        return str(language.stories(place))


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    with warnings.catch_warnings(action="ignore"):
        places = [tmp_path_factory.mktemp(name) for name in ("base", "small", "twin")]
        for place, moved in zip(places, (0.0, 0.05, 0.0), strict=True):
            language.random(place, moved=moved)
    return [str(place) for place in places]


def opened(folder, task):
    model = opening.open_model(folder, task)
    assert isinstance(model, Causal)
    return model


def naive(model, ids):
    """Every distribution of a text in windows of lm-eval's, from the model as a whole."""
    found, longest = [], model.longest
    for done in range(0, len(ids), longest):
        end = min(done + longest, len(ids))
        window = [model.start, *ids][max(0, end - longest) : end]
        with torch.no_grad():
            logits = model.model(torch.tensor([window])).logits[0].float()
        found.append(logits[-(end - done) :].log_softmax(1))
    return torch.cat(found)


@pytest.mark.known_answer
def test_what_is_said_of_documents_is_that_of_the_whole_model_window_by_window(folder):
    task = speakers.documents(TEXTS)
    model = opened(folder, task)
    found = tokens.documents(speakers.evidence_of(model, task))
    for row, text in enumerate(TEXTS):
        mine = found["document"] == row
        ids = found["token"][mine].tolist()
        plain = model.tokenizer.encode(text, add_special_tokens=not text.startswith("<s>"))
        assert ids == plain
        logs = naive(model, ids)
        expected = -logs.gather(1, torch.tensor(ids)[:, None])[:, 0]
        assert torch.allclose(found["loss"][mine].float(), expected, atol=1e-4)
        sure = logs.topk(2).values
        clear = sure[:, 0] - sure[:, 1] > 1e-4
        assert torch.equal(found["likeliest"][mine][clear], logs.argmax(1)[clear])


@pytest.mark.known_answer
def test_it_equals_lm_eval(folder):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=folder, device="cpu", batch_size=2)
    asked = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(TEXTS)]
    rolling = theirs.loglikelihood_rolling(asked, disable_tqdm=True)
    task = speakers.documents(TEXTS)
    evidence = speakers.evidence_of(opened(folder, task), task)
    likelihood = items.behaviour("language.likelihood")
    answer = likelihood.answer(evidence, evidence, likelihood.configure({}), torch.Generator())
    assert answer["loss"] == pytest.approx([-one for one in rolling], abs=1e-4, rel=1e-6)

    asked = [Instance("loglikelihood", {}, (q, c), 0) for q, some in ITEMS for c in some]
    expected = [one[0] for one in theirs.loglikelihood(asked, disable_tqdm=True)]
    task = speakers.task_of("choices", [Passage(q, tuple(some)) for q, some in ITEMS], [0, 1, 2, 0])
    found = speakers.evidence_of(opened(folder, task), task).logits()
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.known_answer
def test_the_log_likelihood_of_a_choice_is_the_sum_over_its_own_tokens(folder):
    task = speakers.task_of("choices", [Passage(q, tuple(some)) for q, some in ITEMS], [0, 1, 2, 0])
    model = opened(folder, task)
    found = speakers.evidence_of(model, task).logits()
    for row, (question, some) in enumerate(ITEMS):
        for at, choice in enumerate(some):
            context = question.rstrip()
            before = model.tokenizer.encode(context) if context else [model.start]
            if context:
                whole = model.tokenizer.encode(question + choice)
            else:
                whole = before + model.tokenizer.encode(choice, add_special_tokens=False)
            kept = whole[-(model.longest + 1) :]
            with torch.no_grad():
                logs = model.model(torch.tensor([kept[:-1]])).logits[0].float().log_softmax(1)
            own = len(whole) - len(before)
            expected = logs.gather(1, torch.tensor(kept[1:])[:, None])[-own:].sum()
            assert float(found[row, at]) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.known_answer
def test_a_real_model_writes_the_text_that_its_author_documents(tmp_path):
    if not language.DATA.is_dir():
        pytest.skip("stories260K is not at hand (WHATELSE_DATA)")
    task = speakers.documents(TEXTS)
    model = opened(str(language.stories(tmp_path / "stories")), task)
    (said,) = model.write(["Once upon a time"], 20, 1)
    assert said.text.startswith(", there was a little girl named Lily. She loved to play outsid")
    assert (said.tokens, said.ended) == (20, False)


def test_batches_of_prompts_are_written_as_alone(folder):
    model = opened(folder, speakers.documents(TEXTS))
    prompts = ["Once upon a time", "A", "One day, she saw"]
    together, alone = (model.write(prompts, 8, at_once) for at_once in (3, 1))
    assert [one.text for one in together] == [one.text for one in alone]


@pytest.mark.known_answer
def test_divergence_equals_that_of_both_models_as_wholes(pair):
    task = speakers.documents(TEXTS)
    models = [opened(one, task) for one in pair[:2]]
    base = speakers.evidence_of(models[0], task)
    mine = speakers.evidence_of(models[1], task, reference=base)
    found = tokens.documents(mine)
    for row in range(len(TEXTS)):
        here = found["document"] == row
        ids = found["token"][here].tolist()
        p, q = (naive(model, ids).double() for model in models)
        expected = (p.exp() * (p - q)).sum(1)
        assert torch.allclose(found["divergence"][here], expected, rtol=1e-3, atol=1e-6)
    assert (base.passes.forward, mine.passes.forward) == (10, 10), "one pass of each body over each window"


def put(rows, file):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def data(tmp_path):
    documents = put([{"text": text} for text in TEXTS * 5], tmp_path / "text.jsonl")
    some = [{"question": q, "choices": c, "answer": 0, "kind": "ab"[i % 2]} for i, (q, c) in enumerate(ITEMS * 15)]
    pairs = [{"stereotype": f"He is {i}.", "anti_stereotype": f"She is {i}."} for i in range(20)]
    return documents, put(some, tmp_path / "items.jsonl"), put(pairs, tmp_path / "pairs.jsonl")


def test_identity_is_exactly_nothing_everywhere(pair, tmp_path):
    for text, told in zip(data(tmp_path), ({}, {"groups": "kind"}, {}), strict=True):
        found = whatelse.audit(pair[0], {"same": pair[2]}, opening.data_text(text, told))
        assert len(found.findings) > 4
        for finding in found.findings:
            assert (finding.effect or 0) == 0, finding.label
            assert finding.verdict in {"unchanged", "not trusted", "not measurable", "inconclusive"}, finding.label


def test_two_folders_are_held_against_each_other(pair, tmp_path):
    found = whatelse.audit(pair[0], {"small": pair[1]}, data(tmp_path)[0])
    said = {finding.label: finding for finding in found.findings}
    assert said["KL divergence a token"].effect > 0
    assert said["KL divergence a token"].clusters is None, "a row is a document"
    tail = said["KL divergence of the farthest hundredth of tokens"]
    assert (tail.n, tail.clusters) == (2450, 20) or tail.clusters == 20
    assert [part.name for part in tail.parts.items] == ["90", "99", "99.9"]
    note = "reads by its own tokenizer, 64 tokens at once at most, and computes in float32"
    assert any(note in remark for one in found.candidates for remark in one.remarks)


def test_a_model_in_memory_is_audited_too(pair, tmp_path):
    task = opening.load_task(data(tmp_path)[1])
    base, small = (opened(folder, task) for folder in pair[:2])
    found = whatelse.audit(base, {"small": small}, task)
    assert {f.label for f in found.findings} >= {"accuracy", "margin of the right choice"}


def test_questions_that_cannot_be_asked_say_why(pair, tmp_path):
    asked = questions.read_questions(
        questions.default()
        + '\n[[measurements]]\nrow = "robustness"\nitem = "language.likelihood"\nlabel = "l"\nmargin = 0'
    )
    found = whatelse.audit(pair[0], {"small": pair[1]}, data(tmp_path)[1], asked)
    said = {f.label: (f.verdict, f.why) for f in found.findings}
    assert said["accuracy under attack"][0] == "not measurable"
    assert "needs documents; task items is of choices" in str(said["l"])


def folder_of(tmp_path, **told):
    with warnings.catch_warnings(action="ignore"):
        return language.random(tmp_path / "model", **told)


def refused(folder, task, error, text):
    with pytest.raises(error) as caught:
        opening.open_model(str(folder), task)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    folder = folder_of(tmp_path, tokenizer=False)
    refused(folder, speakers.documents(TEXTS), ArtifactError, "it has no tokenizer (tokenizer.json); save the one")


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    folder = folder_of(tmp_path)
    tokenizer = language.letters()
    tokenizer.add_tokens(["far"])
    tokenizer.save_pretrained(folder)
    text = "its tokenizer has a token 320, the model vectors for 320; it is not the tokenizer of this model"
    refused(folder, speakers.documents(TEXTS), ArtifactError, text)


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    folder = folder_of(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, speakers.documents(TEXTS), ArtifactError, "only safetensors are read")


def test_a_model_with_weights_missing_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = folder_of(tmp_path)
    held = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in held.items() if "layers.1" not in k}, folder / "model.safetensors", {"format": "pt"})
    refused(folder, speakers.documents(TEXTS), ArtifactError, "its file has no fitting weights for model.layers.1")


def test_a_context_longer_than_the_models_is_refused(pair):
    task = speakers.documents(TEXTS, context=65)
    model = opened(pair[0], task)
    with pytest.raises(TaskError, match="context=65; model takes 64 tokens at once; give as many or fewer"):
        speakers.evidence_of(model, task)


def test_a_shorter_context_is_read_in_more_windows(pair):
    task = speakers.documents(TEXTS, context=16)
    model = opened(pair[0], task)
    evidence = speakers.evidence_of(model, task)
    found = tokens.documents(evidence)
    model.longest = 16
    mine = found["document"] == 0
    ids = found["token"][mine].tolist()
    expected = -naive(model, ids).gather(1, torch.tensor(ids)[:, None])[:, 0]
    assert torch.allclose(found["loss"][mine].float(), expected, atol=1e-4)


def test_text_that_is_mostly_unknown_is_refused(pair, tmp_path, monkeypatch):
    text = put([{"text": "abc"}] * 3, tmp_path / "text.jsonl")
    monkeypatch.setattr(Causal, "cut", lambda self, text, whole: [self.unknown] * 3 + [5] * 2)
    with pytest.raises(TaskError, match="cannot read these data: 60% of 15 tokens are unknown to its tokenizer"):
        whatelse.audit(pair[0], {"small": pair[1]}, text)


def test_a_model_that_answers_nan_is_not_measurable_and_the_others_are(pair, tmp_path):
    model = transformers.LlamaForCausalLM.from_pretrained(pair[1])
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[:] = torch.nan
    with warnings.catch_warnings(action="ignore"):
        model.save_pretrained(tmp_path / "nan")
    language.letters().save_pretrained(tmp_path / "nan")
    found = whatelse.audit(pair[0], {"nan": str(tmp_path / "nan"), "small": pair[1]}, data(tmp_path)[0])
    said = {(f.candidate, f.label): f for f in found.findings}
    broken = said["nan", "perplexity a token"]
    assert broken.verdict == "not measurable"
    assert "says NaN of" in broken.why
    assert said["small", "perplexity a token"].verdict != "not measurable"


def test_data_of_other_kinds_are_refused_by_both_sides(pair):
    refused(pair[0], opening.load_task("digits"), TaskError, "reads texts, the data are images")
    with pytest.raises(WhatElseError, match="baseline takes tensors, the data are documents for language models"):
        whatelse.audit(torch.nn.Linear(1, 1), {"b": torch.nn.Linear(1, 1)}, speakers.documents(TEXTS))


def test_two_tokenizers_leave_the_byte_as_the_unit(pair, tmp_path):
    if not language.DATA.is_dir():
        pytest.skip("stories260K is not at hand (WHATELSE_DATA)")
    with warnings.catch_warnings(action="ignore"):
        other = str(language.stories(tmp_path / "stories"))
    found = whatelse.audit(pair[0], {"other": other}, data(tmp_path)[0])
    said = {f.label: f for f in found.findings}
    assert said["negative log-likelihood a byte"].effect is not None
    for label in ("perplexity a token", "KL divergence a token", "tokens with another one expected"):
        assert said[label].verdict == "not measurable"
        assert "needs the same tokens from both models" in said[label].why


def test_a_name_of_the_hub_is_opened_as_its_folder_is_and_refused_in_one_line(pair, tmp_path, monkeypatch):
    cached = tmp_path / "models--some--one"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    shutil.copytree(pair[1], cached / "snapshots" / ("a" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    task = speakers.documents(TEXTS)
    weights = [opened(text, task).model.state_dict() for text in (pair[1], "hf:some/one")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with pytest.raises(ArtifactError, match=r"^hf:nobody/nothing: it cannot be fetched: [^\n]*$"):
        opening.open_model("hf:nobody/nothing", task)


LONG = [(q + " " + TEXTS[0], [" a dog", " the red ball", " She was", " x"]) for q, _ in ITEMS[:2]]


@pytest.mark.known_answer
def test_what_choices_begin_with_is_read_once_and_says_the_same(folder, monkeypatch):
    task = speakers.task_of("choices", [Passage(q, tuple(c)) for q, c in [*LONG, *ITEMS]], [0] * 6)
    model = opened(folder, task)
    assert model.branches
    asked = []
    branched, states = model.branched, model.states
    monkeypatch.setattr(model, "branched", lambda bundle: (asked.append("branched"), branched(bundle))[1])
    monkeypatch.setattr(model, "states", lambda ids: (asked.append("states"), states(ids))[1])
    mine = speakers.evidence_of(model, task).logits()
    assert "branched" in asked
    asked.clear()
    model.__dict__["branches"] = False
    whole = speakers.evidence_of(model, task).logits()
    assert set(asked) == {"states"}
    assert torch.allclose(mine, whole, rtol=1e-5, atol=1e-5)
    assert mine.isfinite().sum() == whole.isfinite().sum()


def test_where_memory_runs_out_trunks_are_read_window_by_window(folder, monkeypatch):
    task = speakers.task_of("choices", [Passage(q, tuple(c)) for q, c in LONG], [0, 1])
    model = opened(folder, task)
    want = speakers.evidence_of(model, task).logits()

    def short(bundle):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "branched", short)
    assert torch.allclose(speakers.evidence_of(model, task).logits(), want, rtol=1e-5, atol=1e-5)
