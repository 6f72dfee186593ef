"""What events of the pages have in common: who has caused one, and what they see when it goes wrong."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from medsiglip_search.service.callers import Caller
from medsiglip_search.service.problems import texts_in
from ui.problems import told_problem

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("medsiglip_search.ui")


def caller_of(request: gr.Request) -> Caller:
    """Return who has caused an event, as the gate let them in."""
    assert request.request is not None, "events come with a request"
    return request.request.scope["state"]["caller"]


def handler(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function for an event: whatever it raises becomes a message to the person.

    Gradio's own would tell them nothing of an error that it does not know.
    """
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
    [request_id] = [caller_of(one).request_id for one in arguments if isinstance(one, gr.Request)] or ["none"]
    sent = texts_in([one for one in arguments if isinstance(one, str | list | dict)])
    problem = told_problem(error, request_id, sent)
    if problem.status == 500:
        log.error("failed", exc_info=error, extra={"fields": {"request_id": request_id}})
    return gr.Error(
        f"{problem.detail} (ref {request_id})", title=problem.title, duration=None, print_exception=False
    )
