"""A server that nobody here wrote, `transformers serve`, asked over HTTP, with random weights."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from gemma_checkpoints import make_gemma

from medsiglip_search.errors import ExplainerFailed
from medsiglip_search.explain.chat import Abilities, Prompt
from medsiglip_search.explain.gemma import load_gemma
from medsiglip_search.explain.remote import RemoteModel, connect
from medsiglip_search.explain.server.events import EventReader, ServerEvent

pytest.importorskip("openai", reason="transformers serve needs it: pip install -e .[dev]")

START_S = 180
"""Importing and loading take about ten seconds on two idle cores."""

TEXT = Prompt(("Describe a chest radiograph.",), most_tokens=24)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gemma(tmp_path_factory.mktemp("served") / "gemma")


@pytest.fixture(scope="module")
def served(checkpoint: Path) -> Iterator[RemoteModel]:
    """The checkpoint behind `transformers serve`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = checkpoint.parent / "server.log"
    command = [Path(sys.executable).with_name("transformers"), "serve", checkpoint, "--device", "cpu"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, server, log)
        yield connect(url, str(checkpoint))
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_ready(url: str, server: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"transformers serve did not start:\n{log.read_text('utf-8', 'replace')[-3000:]}")


def picture(seed: int) -> np.ndarray:
    """A picture that is padded to the square that the model sees."""
    return np.random.default_rng(seed).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.mark.parametrize(
    "prompt",
    [
        TEXT,
        # Few tokens: of random weights two are soon equally likely, and processors round in their ways.
        Prompt((picture(1), "Describe this medical image."), 10),
        Prompt((picture(2), picture(3), "And?"), 24),
    ],
    ids=["text", "picture", "two-pictures"],
)
def test_a_served_model_says_in_pieces_what_it_says_at_home(
    served: RemoteModel, checkpoint: Path, prompt: Prompt
) -> None:
    pieces: list[str] = []
    answer = served.generate(prompt, pieces.append, threading.Event())
    local = load_gemma(checkpoint, "cpu", abilities=Abilities(pictures=2))
    at_home = local.generate(prompt, lambda piece: None, threading.Event())
    assert answer.text == "".join(pieces) == at_home.text != ""
    assert len(pieces) > 1
    assert (answer.ended, answer.tokens) == (at_home.ended, at_home.tokens) == ("length", prompt.most_tokens)
    assert 0 < answer.first_token_s < answer.seconds


def test_a_served_model_is_left_when_it_is_no_longer_wanted(
    served: RemoteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, received = threading.Event(), list[bytes]()
    feed = EventReader.feed

    def noted(reader: EventReader, data: bytes) -> Iterator[ServerEvent]:
        received.append(data)
        return feed(reader, data)

    monkeypatch.setattr(EventReader, "feed", noted)
    answer = served.generate(Prompt(TEXT.parts, 4000), lambda piece: stop.set(), stop)
    assert (answer.ended, answer.tokens, answer.text != "") == ("cancelled", 1, True)
    assert len(received) < 2000  # some three: the server sends each token by itself
    assert served.generate(TEXT, lambda piece: None, threading.Event()).ended == "length"


def test_another_model_than_the_served_one_is_refused(served: RemoteModel) -> None:
    with pytest.raises(ExplainerFailed, match=r"refused what it was asked \(400\) \(Server is pinned to "):
        connect(served.revision, "another").generate(TEXT, lambda piece: None, threading.Event())
