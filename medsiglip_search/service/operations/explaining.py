"""Explanations: a search, and why its hits answer."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from medsiglip_search import wire
from medsiglip_search.errors import TooLarge
from medsiglip_search.explain import Explanation, TellPiece
from medsiglip_search.service.asking import Asked
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.operations.searching import Found, query_of, told_hit

MOST_HITS = 8
"""So many hits are explained at once."""

COST = 20.0
"""So many requests an explanation counts for: it keeps a model busy for seconds, and others waiting."""

_PLACE = re.compile(r"\b\w+://[^\s,;]+|(?<![\w.])~?(?:/[^\s/:,;]+){2,}/?")
"""The URL of a server, or a path of this machine."""


@dataclass(frozen=True, slots=True, eq=False)
class Explainable:
    """A search whose hits can be explained, by a call of `explain`. found: the search's answer."""

    found: Found
    _explain: Callable[[TellPiece, threading.Event, Callable[[], None]], Explanation]

    def explain(
        self, tell: TellPiece, stop: threading.Event, wait: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Return the explanation as JSON has it, without places on the server.

        tell: takes pieces of text while they are made. stop: ends it within a second, with what was said.
        wait: is called once where another explanation comes first. Raises Unavailable where too many wait.
        """
        return told_explanation(self._explain(tell, stop, wait))


def explainable(service: Service, caller: Caller, name: str, asked: Asked) -> Explainable:
    """Return what a gallery has for what is asked, to be explained.

    It is in the audit before a language model sees a picture. Raises as `search`, and TooManyRequests.
    """
    with service.audit.watch(caller, "explain", name) as entry:
        entry.details["query"] = service.digest_of(caller, asked)
        gallery = service.gallery(caller, name)
        if asked.top_k > MOST_HITS:
            raise TooLarge(f"top_k is too high: at most {MOST_HITS} hits are explained at once")
        service.rates.spend(caller.principal.owner, COST)
        query = query_of(service, caller, gallery, asked)
        result = gallery.search(query)
        entry.subjects = [str(hit.instance.image_id) for hit in result]
        searcher = gallery.view.searcher
    found = Found(query, result, [told_hit(service, gallery, hit) for hit in result])
    hidden = service.settings.hidden

    def explain(tell: TellPiece, stop: threading.Event, wait: Callable[[], None]) -> Explanation:
        return service.explaining.explain(searcher, query, result, tell, stop, hidden=hidden, wait=wait)

    return Explainable(found, explain)


def told_explanation(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON has it, without places on the server or of the server that was asked."""
    told = wire.explanation_json(explanation)
    name = told["explainer"]
    # A checkpoint in a folder is known by its path.
    told["explainer"] = PurePath(name).name if PurePath(name).is_absolute() else name
    told["revision"] = "" if _PLACE.search(told["revision"]) else told["revision"]
    told["problem"] = _PLACE.sub("...", told["problem"])
    return told
