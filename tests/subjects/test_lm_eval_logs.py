"""Logs of lm-eval as data and as models: paired by their hashes, refused by name where these differ, no pass at all."""

import hashlib
import importlib.util
import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import whatelse
from whatelse import opening
from whatelse.errors import TaskError
from whatelse.tasks.language import Passage

_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parent / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)
COUNT = 40


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def line(number, context, choices, scores, target, doc, **more):
    """A line as lm-eval 0.4.13 writes it."""
    arguments = {f"gen_args_{i}": {"arg_0": context, "arg_1": c} for i, c in enumerate(choices)}
    return {
        "doc_id": number, "doc": doc, "target": str(target), "arguments": arguments,
        "resps": [[[str(s), "False"]] for s in scores], "filtered_resps": [[str(s), "False"] for s in scores],
        "filter": "none", "metrics": ["acc", "acc_norm"], "doc_hash": digest(json.dumps(doc)),
        "prompt_hash": digest(context), "target_hash": digest(str(target)), **more,
    }  # fmt: skip


def items(seed, moved=0.0, template="{}"):
    """Lines of a log of one model; those of another seed are other items."""
    rng, noise = np.random.default_rng(seed), np.random.default_rng(7)
    found = []
    for i in range(COUNT):
        choices = [f" {'x' * int(k)}" for k in rng.integers(2, 9, 2 + i % 3)]
        scores = -3 * rng.random(len(choices)) - moved * noise.random(len(choices))
        doc = {"q": f"question {seed} {i}", "kind": "ab"[i % 2]}
        found.append(line(i, template.format(doc["q"]), choices, scores, i % 2, doc))
    return found


def put(rows, file):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def logs(tmp_path):
    return put(items(0), tmp_path / "base.jsonl"), put(items(0, 1.0), tmp_path / "small.jsonl")


@pytest.mark.known_answer
def test_accuracies_and_flips_are_those_of_the_lines(logs):
    task = opening.load_task(opening.data_text(logs[0], {"groups": "kind"}))
    found = whatelse.audit(logs[0], {"small": logs[1]}, task)
    said = {f.label: f for f in found.findings}
    right, normal = ([], []), ([], [])
    for at, rows in enumerate((items(0), items(0, 1.0))):
        for row in rows:
            scores = np.array([float(r[0][0]) for r in row["resps"]])
            sizes = np.array([len(a["arg_1"]) - 1 for a in row["arguments"].values()])
            right[at].append(int(scores.argmax()) == int(row["target"]))
            normal[at].append(int((scores / sizes).argmax()) == int(row["target"]))
    assert (said["accuracy"].before, said["accuracy"].after) == tuple(map(np.mean, right))
    norm = said["accuracy for the length of choices"]
    assert (norm.before, norm.after) == tuple(map(np.mean, normal))
    harmed = np.mean([a and not b for a, b in zip(*right, strict=True)])
    assert said["harmed (right before, wrong after)"].after == pytest.approx(harmed)
    assert task.test.groups["kind"].tolist() == [i % 2 for i in range(COUNT)]
    assert said["bytes"].verdict == "not measurable"


@pytest.mark.known_answer
def test_likelihoods_of_documents_are_those_of_the_lines(tmp_path):
    texts = [f"the {'big ' * i}dog" for i in range(8)]
    logs = []
    for name, times in (("base", 1.0), ("small", 1.1)):
        rows = [
            line(i, text, [], [-times * len(text)], text, {"text": text})
            | {"arguments": {"gen_args_0": {"arg_0": text}}, "resps": [[str(-times * len(text))]]}
            for i, text in enumerate(texts)
        ]
        logs.append(put(rows, tmp_path / f"{name}.jsonl"))
    found = whatelse.audit(logs[0], {"small": logs[1]}, logs[0])
    said = {f.label: f for f in found.findings}
    words = sum(len(re.split(r"\s+", text)) for text in texts)
    letters = sum(map(len, texts))
    assert said["negative log-likelihood a byte"].after == pytest.approx(1.1)
    assert said["perplexity a word"].before == pytest.approx(math.exp(letters / words))
    assert "only has recorded log-likelihoods of documents" in said["KL divergence a token"].why
    assert said["perplexity a token"].verdict == "not measurable"


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (items(1), "it has no example with doc_hash"),
        (items(0)[:30], "it is a log of other items, or of fewer"),
        (items(0, template="Q: {}"), "prompt_hash of doc_id 0 differ from those of base: a log of another template"),
        ([row | {"target_hash": "x"} for row in items(0)], "target_hash of doc_id 0 differ"),
        (
            [row | {"resps": [["text"]] * len(row["resps"])} for row in items(0)],
            "log-likelihoods are read, no generations",
        ),
        (
            [row | {"resps": row["resps"][:1]} for row in items(0)],
            "line 1: 1 answers to 2 requests; as many are needed",
        ),
    ],
    ids=["items", "fewer", "template", "targets", "generations", "answers"],
)
def test_a_log_of_other_questions_is_refused_by_name(logs, tmp_path, rows, text):
    other = put(rows, tmp_path / "other.jsonl")
    with pytest.raises(TaskError) as caught:
        whatelse.audit(logs[0], {"other": other}, logs[0])
    assert text in str(caught.value)
    assert "other.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_data_and_broken_lines_are_refused(logs, tmp_path):
    plain = put([{"question": "q", "choices": ["a", "b"], "answer": 0}] * 3, tmp_path / "plain.jsonl")
    with pytest.raises(TaskError, match="knows examples by the hashes of lm-eval, which the data have not"):
        whatelse.audit(logs[0], {"small": logs[1]}, plain)
    broken = tmp_path / "broken.jsonl"
    broken.write_text(Path(logs[1]).read_text().splitlines()[0] + '\n{"a"\n')
    with pytest.raises(TaskError, match="broken.jsonl: line 2 is no JSON"):
        whatelse.audit(logs[0], {"broken": str(broken)}, logs[0])
    wrong = put([items(0)[0] | {"target": "9"}], tmp_path / "wrong.jsonl")
    with pytest.raises(TaskError, match="line 1: target is '9'; the number or the text of one of 2 choices"):
        opening.load_task(wrong)


@pytest.mark.known_answer
def test_contexts_of_their_own_and_answers_in_other_forms(tmp_path):
    """Schemas (winogrande) have a context a choice; older releases have lists; mutual information asks twice."""
    row = items(0)[0]
    two = row | {"arguments": [["He ", "ran."], ["She ", "ran."]], "target": 1}
    task = opening.load_task(put([two] * 2, tmp_path / "a.jsonl"))
    assert task.language.passages[0].pairs == (("He ", "ran."), ("She ", "ran."))
    assert task.test.targets.tolist() == [1, 1]
    twice = row | {
        "metrics": ["acc_mutual_info"],
        "arguments": [["q", " a"], ["q", " b"], ["", " a"], ["", " b"]],
        "resps": [[["-1", "True"]], [["-2", "True"]], [["-9", "True"]], [["-9", "True"]]],
        "target": "b",
    }
    file = put([twice], tmp_path / "b.jsonl")
    task = opening.load_task(file)
    mark = task.language.passages[0].mark
    assert task.language.passages == (Passage("q", (" a", " b"), (1, 1), mark),)
    assert task.test.targets.tolist() == [1]
    assert opening.open_model(file, task).recorded("test").tolist() == [[-1.0, -2.0]]


@pytest.mark.slow
@pytest.mark.known_answer
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_model_asked_what_stands_in_a_log_answers_as_the_log_does(tmp_path):
    """The log is what lm-eval writes of this very model, where it is installed."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    with warnings.catch_warnings(action="ignore"):
        folder = str(language.random(tmp_path / "model"))
    model, rows = HFLM(pretrained=folder, device="cpu"), items(0)
    for row in rows:
        pairs = [tuple(one.values()) for one in row["arguments"].values()]
        asked = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        row["resps"] = [[[str(score), str(best)]] for score, best in model.loglikelihood(asked, disable_tqdm=True)]
    log = put(rows, tmp_path / "log.jsonl")
    found = whatelse.audit(log, {"model": folder}, log)
    for finding in found.findings:
        assert finding.effect is None or abs(finding.effect) < 1e-4, finding.label
