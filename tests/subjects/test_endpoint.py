import itertools
import re
import socket
import threading

import pytest
import torch

from whatelse import opening
from whatelse.errors import ArtifactError, SettingError, TaskError
from whatelse.models import endpoint, line


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(line, "_PAUSE", 0.001)
    for name in (line.HEADER, line.TIMEOUT, line.BATCH):
        monkeypatch.delenv(name, raising=False)


def answers(net):
    return lambda x: net(x).detach()


@pytest.mark.known_answer
@pytest.mark.parametrize("way", ["plain", "served"])
def test_an_endpoint_answers_as_the_model_behind_it(serve, net, digits, way):
    server = serve(answers(net))
    found = opening.open_model(getattr(server, way), digits)
    x = digits.test.inputs[:37]
    with torch.no_grad():
        assert torch.equal(found.scores(x), net(x))
    assert found.requests == len(server.seen) + (way == "served")  # its metadata were asked for
    assert "only predicts" in found.told[0]


def test_requests_are_cut_to_the_size_that_is_allowed(serve, net, digits, monkeypatch):
    sizes = []
    server = serve(lambda x: sizes.append(len(x)) or net(x).detach())
    monkeypatch.setenv(line.BATCH, "7")
    opening.open_model(server.plain, digits).scores(digits.test.inputs[:20])
    assert sizes[-3:] == [7, 7, 6]
    assert max(sizes) == 7


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(serve, net, digits, status):
    server = serve(answers(net))
    server.fail = [(status, ()), (status, [("Retry-After", "0")])]
    found = opening.open_model(server.plain, digits)
    assert found.requests == 4  # two that failed, and the same question twice


def test_what_never_passes_is_one_line(serve, net, digits):
    server = serve(answers(net))
    server.fail = [(503, ())] * 5
    with pytest.raises(TaskError, match="did not answer at 5 tries, after 5 requests: status 503"):
        opening.open_model(server.plain, digits)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/predict"
        with pytest.raises(TaskError, match="did not answer at 5 tries.*refused"):
            opening.open_model(nobody, digits)


def test_the_header_comes_from_the_environment_and_is_never_said(serve, net, digits, monkeypatch):
    server = serve(answers(net))
    monkeypatch.setenv(line.HEADER, "Authorization: Bearer hush-hush")
    found = opening.open_model(server.plain, digits)
    assert server.seen[0][1]["Authorization"] == "Bearer hush-hush"
    assert "hush" not in f"{found.key} {found.told}"
    server.fail = [(401, ())]
    with pytest.raises(TaskError, match="status 401.*WHATELSE_ENDPOINT_HEADER") as caught:
        found.scores(digits.test.inputs[:2])
    assert "hush" not in str(caught.value)
    told = "Bearer hush-hush"
    for said in ({"scores": [told]}, {"scores": [["x" * 70, told.removeprefix("Bearer ")]]}):
        server.raw = said
        with pytest.raises(TaskError, match="lists of numbers are needed") as caught:
            found.scores(digits.test.inputs[:2])
        assert "hush" not in str(caught.value)
    server.raw = None
    for wrong in ("hush-hush", "Authorization: hush\nX: y"):
        monkeypatch.setenv(line.HEADER, wrong)
        with pytest.raises(SettingError, match="is no header") as caught:
            opening.open_model(server.plain, digits)
        assert "hush" not in str(caught.value)


def test_one_that_hangs_is_one_line(serve, net, digits, monkeypatch):
    server = serve(answers(net))
    server.hangs = True
    monkeypatch.setenv(line.TIMEOUT, "0.1")
    with pytest.raises(TaskError, match=r"gave no answer within 0.1 seconds; WHATELSE_ENDPOINT_TIMEOUT=SECONDS"):
        opening.open_model(server.plain, digits)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("begin", "drop"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "), (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n")],
    ids=["answer", "head"],
)
def test_one_that_trickles_is_one_line(digits, monkeypatch, begin, drop):
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def trickle():
        talk, _ = listening.accept()
        with talk:
            talk.recv(2**16)
            talk.sendall(begin)
            while not done.wait(0.02):
                try:
                    talk.sendall(drop)
                except OSError:
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    monkeypatch.setenv(line.TIMEOUT, "0.2")
    with pytest.raises(TaskError, match="gave no answer within 0.2 seconds"):
        opening.open_model(f"http://127.0.0.1:{listening.getsockname()[1]}/p", digits)
    done.set()
    thread.join()
    listening.close()


@pytest.mark.parametrize("shape", [[None], ["N", 64], "x", {"a": 1}, [True]])
def test_a_served_model_that_tells_no_shape_is_one_line(shape):
    said = {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape}]}
    with pytest.raises(TaskError, match="answers without inputs by name and datatype"):
        endpoint._listed(said, "inputs", line.Line("http://host/v2/models/m"))


def test_answers_that_change_are_refused_and_those_that_tremble_are_told(serve, net, digits):
    count = itertools.count()
    server = serve(lambda x: net(x).detach() + 0.1 * next(count))
    with pytest.raises(TaskError, match="answers two identical requests otherwise, by 0.0.* nothing measured"):
        opening.open_model(server.plain, digits)
    server.answer = lambda x: net(x).detach() * (1 + 1e-6 * next(count))
    found = opening.open_model(server.plain, digits)
    assert "answers two identical requests otherwise, by" in found.told[1]
    assert found.is_still(opening.open_model(server.plain, digits).key)


def test_an_endpoint_is_found_again_only_as_it_was(serve, net, digits):
    server = serve(answers(net))
    found = opening.open_model(server.plain, digits)
    assert opening.open_model(server.plain, digits).is_still(f"{found.key}-more")
    server.answer = lambda x: net(x).detach() + 1
    assert not opening.open_model(server.plain, digits).is_still(found.key)
    server.answer = answers(net)
    assert not opening.open_model(server.served, digits).is_still(found.key)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"outputs": []}, "answers with outputs; one of scores, logits, probabilities, labels is needed"),
        ({"scores": [[1.0, "a"]]}, "lists of numbers are needed"),
        ({"scores": [[1.0], [1.0, 2.0]]}, "lists of numbers are needed"),
        ({"scores": [[1.0, 2.0]]}, "answers 16 examples in the shape (1, 2); a row for each is needed"),
        (b"<html>", "answers with what is no JSON"),
        (b"[1]", "answers with a list; an object is needed"),
        (b" " * 2**21, "answers with more than"),
        ({"labels": [11] * 16}, "answers with class 11; allowed are 0 to 9"),
        ({"labels": [0.5] * 16}, "answers with class 0.5; allowed are 0 to 9"),
        ({"labels": [float("nan")] * 16}, "answers with class nan; allowed are 0 to 9"),
        ({"scores": 0}, "answers with 0; lists of numbers are needed"),
        ({"scores": [[], [1.0]]}, "lists of numbers are needed"),
        ({"probabilities": [[2.0] * 10] * 16}, "answers with probabilities from 2 to 2; 0 to 1 is allowed"),
    ],
)
def test_answers_that_are_none_are_one_line(serve, net, digits, said, why):
    server = serve(answers(net))
    server.raw = said
    with pytest.raises(TaskError, match=re.escape(why)):
        opening.open_model(server.plain, digits)


def test_a_wrong_number_of_classes_and_a_wrong_shape_are_refused(serve, net, digits):
    from whatelse.models import take

    server = serve(lambda x: net(x).detach()[:, :7])
    found = opening.open_model(server.plain, digits)
    with pytest.raises(TaskError, match="scores of 7 classes; the data have 10: labels 7 to 9 are none of its classes"):
        take.take(found, "mine", found.key, digits, torch.Generator())
    other = serve(answers(net), shape=(8, 8, 1))
    with pytest.raises(TaskError, match=r"takes inputs of shape \(8, 8, 1\); the data have \(1, 8, 8\); its channels"):
        opening.open_model(other.served, digits)


@pytest.mark.parametrize(
    "address", ["http://me:hush@host/p", "https://host/p?key=hush", "http://", "http://host:99999/p", "https://a b/p"]
)
def test_addresses_that_are_none_are_refused(digits, address):
    with pytest.raises(ArtifactError, match="address") as caught:
        opening.open_model(address, digits)
    assert "hush" not in str(caught.value)
    with pytest.raises(ArtifactError, match="has its own weights"):
        opening.open_model("http://host/p", digits, "w.pt")
