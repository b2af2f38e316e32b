"""An OpenAI-compatible address: the numbers of the model behind it, what it does not bear out is not asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

import whatelse
from whatelse import opening
from whatelse.errors import ArtifactError, TaskError
from whatelse.models import line
from whatelse.models.completions import Completions, ReadingChoices
from whatelse.tasks.language import Passage
from whatelse.testing import speakers

TEXTS = ["the dog ran home.", f"a cat sat and {'sat and ' * 15}sat.", "she saw the big red dog."] * 4
DOCUMENTS = speakers.documents(TEXTS)
ITEMS = [("the dog", [" ran home", " sat"]), ("she saw ", ["the cat", "him", "a big dog"])] * 5
CHOICES = speakers.task_of("choices", [Passage(q, tuple(c)) for q, c in ITEMS], [0, 1] * 5)


class Server:
    """What a speaker says, as vLLM serves it; ``change`` turns an answer into that of a worse server."""

    def __init__(self, moved=0.0, change=lambda answer, asked: answer, names=("m",)):
        self.speaker, self.change, self.names, self.seen = speakers.Speaker(moved=moved), change, names, []

    def answer(self, asked):
        prompts = asked["prompt"] if isinstance(asked["prompt"], list) else [asked["prompt"]]
        found = []
        for at, prompt in enumerate(prompts):
            (made,) = self.speaker.write([prompt], asked["max_tokens"], 1)
            said = {
                "index": at,
                "text": made.text,
                "finish_reason": "stop" if made.ended else "length",
                "logprobs": None,
            }
            if asked.get("echo"):
                ids = self.speaker.cut(prompt + made.text, whole=True)
                logs = self.speaker.said(self.speaker.states(torch.tensor([ids]))[0]).log_softmax(1)
                each = [None, *(float(logs[i, token]) for i, token in enumerate(ids[1:]))]
                said |= {"text": prompt + made.text}
                said["logprobs"] = {
                    "tokens": list(prompt + made.text),
                    "token_logprobs": each,
                    "text_offset": list(range(len(ids))),
                }
            found.append(said)
        return self.change({"choices": found, "usage": {"completion_tokens": 1}}, asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *said):
        del said

    def do_GET(self):
        self._say({"data": [{"id": name} for name in self.server.owner.names]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.owner.seen.append(asked)
        self._say(self.server.owner.answer(asked))

    def _say(self, what):
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(line, "_PAUSE", 0.001)
    running = []

    def start(**told):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.owner = Server(**told)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def first_left_out(speaker, text):
    ids = speaker.cut(text, whole=True)
    logs = speaker.said(speaker.states(torch.tensor([ids]))[0]).log_softmax(1)
    return [float(logs[i, token]) for i, token in enumerate(ids[1:])]


@pytest.mark.known_answer
def test_likelihoods_of_documents_are_those_of_the_model_but_for_the_first_token(serve):
    found = opening.open_model(serve(), DOCUMENTS)
    expected = [sum(first_left_out(speakers.Speaker(), text)) for text in TEXTS]
    assert found.loglikelihoods("test").tolist() == pytest.approx(expected, rel=1e-5)
    prompts = ["the dog", "a cat", "she"]
    expected = [one.text for one in speakers.Speaker().write(prompts, 5, 1)]
    for at_once in (1, 2):
        assert [one.text for one in found.write(prompts, 5, at_once)] == expected


@pytest.mark.known_answer
def test_choices_are_the_tokens_behind_the_last_letter_of_the_question(serve):
    found = opening.open_model(serve(), CHOICES)
    assert isinstance(found, ReadingChoices)
    scores = found.recorded("test")
    for row, (question, some) in enumerate(ITEMS[:2]):
        for at, choice in enumerate(some):
            logs = first_left_out(speakers.Speaker(), question + choice)
            expected = sum(logs[len(question.rstrip()) - 1 :])
            assert float(scores[row, at]) == pytest.approx(expected, rel=1e-5)
    assert scores[0, 2] == -torch.inf


def test_two_addresses_are_held_against_each_other(serve):
    one, two = serve(), serve(moved=0.3, names=("a", "b"))
    for task, label in ((DOCUMENTS, "negative log-likelihood a byte"), (CHOICES, "accuracy")):
        found = whatelse.audit(one, {"small": f"{two}#b"}, task)
        said = {f.label: f for f in found.findings}
        assert said[label].effect is not None, label
        assert any("was asked over HTTP" in remark for c in found.candidates for remark in c.remarks)
    same = {f.label: f for f in whatelse.audit(one, {"same": serve()}, DOCUMENTS).findings}
    assert same["negative log-likelihood a byte"].effect == 0
    assert same["agreement of what is written"].after == 1
    assert "has recorded log-likelihoods of documents" in same["KL divergence a token"].why


def gone(answer, asked):
    del asked
    for one in answer["choices"]:
        one["logprobs"] = None
    return answer


def each(change):
    def changed(answer, asked):
        for one in answer["choices"] if asked.get("echo") else ():
            logs = one["logprobs"]["token_logprobs"]
            one["logprobs"]["token_logprobs"] = [None, *change(logs[1:])]
        return answer

    return changed


def cut(answer, asked):
    if asked.get("echo"):
        answer["choices"][0]["text"] = answer["choices"][0]["text"][9:]
    return answer


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (gone, "gives no log-probability for every token of a prompt"),
        (each(lambda logs: [0.0] * len(logs)), "gives a log-probability of 0 for every token of a known text"),
        (each(lambda logs: [-1.5] * len(logs)), "gives every token of a known text the same log-probability"),
        (each(lambda logs: logs[:1]), "gives no log-probability for every token of a prompt"),
        (each(lambda logs: [0.5] * len(logs)), "gives no log-probability for every token of a prompt"),
        (cut, "answers of another text than it was asked"),
    ],
    ids=["none", "zeros", "equal", "one", "positive", "cut"],
)
def test_what_the_probe_does_not_bear_out_is_not_measurable_and_never_a_number(serve, change, why):
    address = serve(change=change)
    found = opening.open_model(address, CHOICES)
    assert type(found) is Completions
    assert why in found.told[1]
    audit = whatelse.audit(serve(), {"small": address}, CHOICES)
    said = {f.label: f for f in audit.findings}
    assert said["accuracy"].verdict == "not measurable"
    assert "only writes" in said["accuracy"].why
    assert any(why in remark for c in audit.candidates for remark in c.remarks)


def test_what_changes_its_answers_serves_several_or_nothing_is_refused_in_one_line(serve):
    wild = torch.Generator().manual_seed(0)
    moving = each(lambda logs: [log - float(torch.rand(1, generator=wild)) for log in logs])
    several = serve(names=("a", "b"))
    for address, error, text in (
        (serve(change=moving), TaskError, "answers two identical requests otherwise"),
        (several, TaskError, "it serves a, b; say which: --model NAME"),
        (serve(change=lambda answer, asked: {"choices": []}), TaskError, "answers 1 prompts with []"),
    ):
        with pytest.raises(error) as caught:
            opening.open_model(address, DOCUMENTS)
        assert text in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ArtifactError, match="told apart for language models alone"):
        opening.open_model(f"{several}#a", opening.load_task("digits"))
