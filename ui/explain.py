"""Explain: why hits answer, told while a language model speaks, with what speaks against it first."""

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.explanation_text import explanation_lines
from medsiglip_search.service.asking import Asked, Link
from medsiglip_search.service.core import Service
from medsiglip_search.service.operations import explaining
from medsiglip_search.service.operations.explaining import Explainable
from ui.calls import caller_of, on
from ui.frame import header
from ui.problems import told_problem
from ui.templates import html, script
from ui.viewer import gallery_of, image_ids, told_calmly
from ui.wording import words_of

HITS = 3
"""So many are explained, the best ones, unless the address names one."""

EVERY_S = 0.2
"""How often the page shows what was said since."""

Shown = tuple[Any, ...]
"""What an event gives to: the hits, how it stands, the account, Stop and the text to copy."""


@dataclass(slots=True)
class Account:
    """What was told of an explanation until now. texts: by subject, in the order in which they came.

    error: why there will be no explanation.
    """

    texts: dict[str, str] = field(default_factory=dict)
    is_waiting: bool = False
    explanation: dict[str, Any] | None = None
    error: Exception | None = None

    def hear(self, kind: str, what: Any) -> None:
        """Take the next event of `_events`."""
        match kind:
            case "waiting":
                self.is_waiting = True
            case "piece":
                subject, text = what
                self.is_waiting = False
                self.texts[subject] = self.texts.get(subject, "") + text
            case "explanation":
                self.explanation = what
            case "problem":
                self.error = what

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.explanation is not None or self.error is not None

    @property
    def state(self) -> str:
        """How it stands, in a few words."""
        if self.error is not None:
            return "There is no explanation."
        if self.explanation is not None:
            return _ENDS[self.explanation["state"]]
        if self.is_waiting:
            return "Waiting: another explanation is made first."
        if self.texts:
            return f"Speaking of {list(self.texts)[-1]} …"
        return "Looking at the pictures …"


_ENDS = {
    "done": "Done.",
    "partial": "Ended early: not all pictures could be described.",
    "cancelled": "Stopped. What was said until then is kept.",
    "failed": "The explainer failed; the evidence is there without it.",
}


def build(service: Service) -> None:
    """Add the page.

    `/explain?s=TOKEN` explains a search, with `hit=IMAGE` one of its hits; `/explain?gallery=NAME&like=IMAGE`
    why others are similar to an image.
    """
    header(service)
    running: dict[str, threading.Event] = {}
    gr.HTML("<h1>Explain</h1>", elem_classes="explain-title", apply_default_css=False)
    with gr.Row(elem_classes="asking", visible=False) as form:
        gallery = gr.Dropdown([], label="Gallery", visible=False)
        text = gr.Textbox(
            label="Explain the best hits for",
            placeholder="Explain the best hits for, such as: left pleural effusion",
            show_label=False,
            container=False,
            max_lines=1,
            scale=3,
        )
        go = gr.Button("Explain", variant="primary", scale=0, min_width=110)
    with gr.Row(elem_classes="explain-state"):
        state = gr.HTML(html("explain_state.html", words="", is_over=True), apply_default_css=False, scale=1)
        stop = gr.Button("Stop", variant="stop", visible=False, scale=0, min_width=110)
        as_text = gr.HTML(
            js_on_load=script("explain.js"), apply_default_css=False, elem_classes="explain-copy"
        )
    with gr.Row():
        with gr.Column(scale=1, min_width=220):
            hits = gr.HTML(apply_default_css=False)
        with gr.Column(scale=3, min_width=420):
            account = gr.HTML(js_on_load=script("explain.js"), apply_default_css=False)
    outputs = [hits, state, account, stop, as_text]

    def told(link: Link, token: str, image_id: int | None, request: gr.Request) -> Iterator[Shown]:
        caller = caller_of(request)
        begun = explaining.explainable(service, caller, link.gallery, _asked(link.asked, image_id))
        shown = html(
            "explain_hits.html",
            hits=begun.found.hits,
            gallery=link.gallery,
            asked=words_of(link.asked),
            token=token,
            is_one=image_id is not None,
        )
        ended = running[request.session_hash or ""] = threading.Event()
        try:
            for now in _accounts(begun, ended):
                yield _shown(now, shown, caller.request_id)
        finally:  # the person has left, too
            ended.set()
            running.pop(request.session_hash or "", None)

    def show(request: gr.Request) -> Iterator[Shown]:
        token, hit = request.query_params.get("s", ""), request.query_params.get("hit", "")
        like = request.query_params.get("like", "")
        nothing = gr.update(visible=False)
        if not token and not like:
            yield "", "", "", nothing, ""
            return
        try:
            owner = caller_of(request).principal.owner
            if like and not token:
                gallery = gallery_of(service, caller_of(request), request)
                token = service.links.keep(owner, Link(gallery, Asked(like=image_ids(like)[:1])))
            link = service.links.get(owner, token)
            yield from told(link, token, image_ids(hit)[0] if hit else None, request)
        except Exception as error:
            yield "", "", told_calmly(error, request, token), nothing, ""

    def offer(request: gr.Request) -> tuple[Any, Any]:
        """Show the form where the address asks nothing."""
        names = caller_of(request).seen(service.galleries)
        is_asked = any(request.query_params.get(name) for name in ("s", "like"))
        chosen = gr.update(choices=names, value=next(iter(names), None), visible=len(names) > 1)
        return gr.update(visible=not is_asked), chosen

    def ask(gallery: str | None, text: str, request: gr.Request) -> Iterator[Shown]:
        if not text.strip():
            raise InvalidQuery("the text is empty; say what the hits are to be explained for")
        names = caller_of(request).seen(service.galleries)
        link = Link(gallery or next(iter(names), ""), Asked(text=text))
        token = service.links.keep(caller_of(request).principal.owner, link)
        yield from told(link, token, None, request)

    def end(request: gr.Request) -> None:
        if (ended := running.get(request.session_hash or "")) is not None:
            ended.set()

    # One after the other: see `on` of what streams.
    on(on(None, show, None, outputs), offer, None, [form, gallery])
    on([go.click, text.submit], ask, [gallery, text], outputs)
    on(stop.click, end)


def _asked(asked: Asked, image_id: int | None) -> Asked:
    """Return the question whose hits are explained: the best ones, or one of them."""
    if image_id is None:
        return replace(asked, top_k=HITS, cursor=None)
    filters = {**asked.filters, "image_id": (image_id,)}
    return replace(asked, filters=filters, top_k=1, cursor=None, min_relevance=None)


def _accounts(begun: Explainable, ended: threading.Event) -> Iterator[Account]:
    """Yield what was told until now, first at once and then whenever there is more."""
    told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            explanation = begun.explain(
                lambda subject, text: told.put(("piece", (subject, text))),
                ended,
                lambda: told.put(("waiting", None)),
            )
            told.put(("explanation", explanation))
        except Exception as error:
            told.put(("problem", error))

    account = Account()
    yield account
    threading.Thread(target=work, name="explanation", daemon=True).start()
    while not account.is_over:
        account.hear(*told.get())
        # Pieces come faster than a page is drawn; what has gathered meanwhile is shown together.
        ended.wait(EVERY_S)
        while not told.empty():
            account.hear(*told.get())
        yield account


def _shown(now: Account, hits: str, reference: str) -> Shown:
    is_over, explanation = now.is_over, now.explanation
    problem = None if now.error is None else told_problem(now.error, reference)
    if problem is not None and problem.status == 500 and now.error is not None:
        raise now.error
    return (
        hits if not now.texts and not is_over else gr.skip(),
        html("explain_state.html", words=now.state, is_over=is_over),
        html(
            "explanation.html",
            texts=now.texts,
            told=explanation,
            sources=_sources(explanation) if explanation else [],
            problem=problem,
        ),
        gr.update(visible=not is_over),
        html("explain_text.html", text="\n".join(explanation_lines(explanation)) if explanation else ""),
    )


def _sources(explanation: Mapping[str, Any]) -> list[tuple[str, dict[str, list[str]]]]:
    """Return the findings, each with the pictures for which a record, the encoder or the model says it."""
    rows = []
    for one in explanation["findings"]:
        by_kind: dict[str, list[str]] = {"record": [], "encoder": [], "model": []}
        for source in one["sources"]:
            kind, _, subject = source.partition(": ")
            by_kind[kind].append(subject)
        rows.append((one["finding"], by_kind))
    return rows
