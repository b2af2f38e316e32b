"""The hub where there is no network: what was fetched before, at once, and the switch set back."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from whatelse import hub

constants = pytest.importorskip("huggingface_hub.constants", reason="needs whatelse[transformers]")


@pytest.fixture
def server():
    class Anything(BaseHTTPRequestHandler):
        def do_HEAD(self):  # noqa: N802 - as the library names it
            self.send_response(404)
            self.end_headers()

        def log_message(self, *args):
            pass

    held = HTTPServer(("127.0.0.1", 0), Anything)
    threading.Thread(target=held.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{held.server_port}"
    held.shutdown()
    held.server_close()


def test_where_nothing_answers_only_what_was_fetched_is_looked_at(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def looked():
        with hub.reached():
            assert constants.HF_HUB_OFFLINE
            if "datasets.config" in sys.modules:
                assert sys.modules["datasets.config"].HF_HUB_OFFLINE
            raise KeyError

    with pytest.raises(KeyError):
        looked()
    assert not constants.HF_HUB_OFFLINE


def test_where_anything_answers_nothing_is_switched(monkeypatch, server):
    monkeypatch.setattr(constants, "ENDPOINT", server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with hub.reached():
        assert not constants.HF_HUB_OFFLINE


def test_who_is_offline_by_choice_stays_so(monkeypatch, server):
    monkeypatch.setattr(constants, "ENDPOINT", server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.reached():
        assert constants.HF_HUB_OFFLINE
    assert constants.HF_HUB_OFFLINE
