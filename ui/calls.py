"""What events of the pages have in common: who has caused one, and what they see when it goes wrong."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from gradio.events import Dependency

from medsiglip_search.service.callers import Caller
from medsiglip_search.service.gate import STATUS
from medsiglip_search.service.problems import texts_in
from ui.problems import told_problem

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("medsiglip_search.ui")


def caller_of(request: gr.Request) -> Caller:
    """Return who has caused an event, as the gate let them in."""
    assert request.request is not None, "events come with a request"
    return request.request.scope["state"]["caller"]


def on(
    trigger: Any, function: Callable[..., Any], inputs: Any = None, outputs: Any = None, **options: Any
) -> Any:
    """Let a function answer an event of the page; what it raises becomes a message to the person.

    trigger: as `gr.on` takes it, None for the page being loaded; or what this function has returned, to
    follow that. options: of `gr.on`, too.
    """
    # One request asks and is answered. Through Gradio's queue goes only what streams: its browser may miss an
    # event that begins at the instant at which the stream of another one is closed, and wait for ever.
    own = {
        "queue": inspect.isgeneratorfunction(function),
        "concurrency_limit": None,
        "show_progress": "hidden",
    }
    begin = trigger.then if isinstance(trigger, Dependency) else functools.partial(gr.on, trigger)
    return begin(_guarded(function), inputs, outputs, **{**own, **options}, api_visibility="private")


def _guarded(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that raises what people read; of other errors Gradio would tell them nothing."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def streaming(*arguments: P.args, **named: P.kwargs) -> Any:
            try:
                yield from function(*arguments, **named)
            except Exception as error:
                raise _told(error, arguments) from error

        return streaming

    @functools.wraps(function)
    def answering(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except Exception as error:
            raise _told(error, arguments) from error

    return answering


def _told(error: Exception, arguments: tuple[object, ...]) -> gr.Error:
    """Return what is shown of an error; one that is not told in words is in the log, under a reference."""
    if isinstance(error, gr.Error):
        return error
    requests = [one.request for one in arguments if isinstance(one, gr.Request)]
    states = [one.scope["state"] for one in requests if one is not None]
    request_id = states[0]["request_id"] if states else "none"
    sent = texts_in([one for one in arguments if isinstance(one, str | list | dict)])
    problem = told_problem(error, request_id, sent)
    if problem.status == 500:
        log.error("failed", exc_info=error, extra={"fields": {"request_id": request_id}})
    for state in states:
        state[STATUS] = problem.status
    # What streams is told by Gradio itself, and stays until it is closed, too.
    return gr.Error(problem.words, duration=None, print_exception=False)
