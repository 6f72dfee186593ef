"""Any OpenAI-compatible chat server by its URL: vLLM, llama.cpp, `transformers serve`, Vertex AI."""

import base64
import json
import logging
import math
import threading
import time
from typing import Any

import numpy as np

from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.errors import ExplainerFailed, ExplainerRefused, ExplainerUnavailable
from medsiglip_search.explain.chat import Abilities, Answer, Prompt, Tell
from medsiglip_search.explain.kinds import kind_of
from medsiglip_search.explain.server.address import read_address, read_key, require_upload
from medsiglip_search.explain.server.background import Call
from medsiglip_search.explain.server.breaker import Breaker
from medsiglip_search.explain.server.calls import Caller, RemoteLimits
from medsiglip_search.explain.server.events import shortened
from medsiglip_search.images import png
from medsiglip_search.records import PreprocessSpec

__all__ = ["RemoteLimits", "RemoteModel", "connect", "read_key"]

log = logging.getLogger(__name__)

PICTURE_SIDE = 896
"""Pixels; what MedGemma sees. More would only be sent."""

MOST_NAMED = 10
"""Models of a server in a message."""


class RemoteModel:
    """A model behind a server; see `connect`."""

    def __init__(self, base: str, model: str, caller: Caller, breaker: Breaker | None = None) -> None:
        self.name = model
        self.revision = base  # a server does not tell which weights it has
        kind = kind_of(model)
        self.abilities = Abilities(kind.pictures)
        self.rendering = kind.rendering
        self._caller = caller
        self._breaker = breaker or Breaker()

    def __repr__(self) -> str:
        return f"RemoteModel({self.revision!r}, {self.name!r})"

    def generate(self, prompt: Prompt, tell: Tell, stop: threading.Event) -> Answer:
        """Answer; see `ChatModel`. After some failures running, fail at once for a while."""
        left_s = self._breaker.wait_s()
        if left_s > 0:
            raise ExplainerFailed(
                f"{self.revision}: not asked: failed {self._breaker.most} times running; "
                f"asked again in {math.ceil(left_s)} s"
            )
        note = self._breaker.given_up
        try:
            answer = self._generate(prompt, tell, stop)
            if answer.ended != "cancelled":
                note = self._breaker.worked
            return answer
        except ExplainerRefused:
            raise
        except ExplainerFailed:
            note = self._breaker.failed
            raise
        finally:
            note()

    def _generate(self, prompt: Prompt, tell: Tell, stop: threading.Event) -> Answer:
        started = time.monotonic()
        told: list[str] = []
        first_s = 0.0
        content = _request(self.name, prompt, stop)
        call = None
        if content is not None:
            call = Call(lambda tell: self._caller.chat(content, prompt.most_tokens, tell), stop)
        try:
            while call is not None and (piece := call.next_piece()) is not None:
                first_s = first_s or time.monotonic() - started
                told.append(piece)
                tell(piece)
            said = call.result() if call is not None else None
        except ExplainerFailed as error:
            error.said = "".join(told)
            raise
        finally:
            if call is not None:
                call.leave()
        seconds = time.monotonic() - started
        ended, tokens = (said.ended, said.tokens) if said is not None else ("cancelled", len(told))
        return Answer("".join(told), ended, tokens, seconds, first_s or seconds)


def connect(
    url: str,
    model: str | None = None,
    *,
    key: str | None = None,
    may_upload: bool = False,
    limits: RemoteLimits = RemoteLimits(),
    breaker: Breaker | None = None,
) -> RemoteModel:
    """Return a model of the server at a URL, with or without /v1 or /chat/completions.

    model: its name there; the server's only one by default. key: sent as a bearer token. may_upload: whether
    pictures and reports may leave this machine. Raises ExplainerUnavailable.
    """
    address = read_address(url)
    require_upload(address, may_upload)
    if not address.is_local and not address.is_encrypted:
        log.warning(
            "%s: not encrypted: pictures, reports%s can be read on the way; use https",
            address.base,
            " and the key" if key else "",
        )
    caller = Caller(address, key, limits)
    model = model or _only_model(address.base, caller)
    return RemoteModel(address.base, model, caller, breaker)


def _only_model(base: str, caller: Caller) -> str:
    call = Call(lambda tell: caller.models(), threading.Event())
    try:
        call.next_piece()  # there is none; it waits for the end
        names = call.result() or []
    except ExplainerFailed as error:
        # A server that is there and tells no names may answer to one all the same.
        advice = "" if "cannot be reached" in str(error) else "; or name its model with --model"
        raise ExplainerUnavailable(f"{error}{advice}") from error
    finally:
        call.leave()
    if len(names) == 1:
        return names[0]
    if not names:
        raise ExplainerUnavailable(f"{base}: lists no model; name it with --model")
    listed = ", ".join(map(shortened, names[:MOST_NAMED]))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    raise ExplainerUnavailable(f"{base}: has {len(names)} models; choose with --model: {listed}{more}")


def _request(model: str, prompt: Prompt, stop: threading.Event) -> bytes | None:
    """Return a request's JSON, its pictures as data: URLs; None if it was stopped meanwhile."""
    parts: list[dict[str, Any]] = []
    for part in prompt.parts:
        if stop.is_set():
            return None
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
        else:
            parts.append({"type": "image_url", "image_url": {"url": _data_url(part)}})
    # Some servers of models without eyes take nothing but a string.
    content = parts if prompt.pictures else "\n".join(part["text"] for part in parts)
    request = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": prompt.most_tokens,
        "stream": True,
    }
    return json.dumps(request).encode("ascii")


def _data_url(picture: np.ndarray) -> str:
    side = min(PICTURE_SIDE, max(picture.shape[:2]))
    square = fitted(picture, PreprocessSpec(size=side))
    return "data:image/png;base64," + base64.b64encode(png(square)).decode("ascii")
