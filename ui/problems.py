"""Problems as pages tell them, all in one way: a title, a sentence, and the reference that the log has."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from medsiglip_search.service.problems import problem_of

_WAYS_OUT = (
    (re.compile(r"GET /v1/galleries lists those that there are"), "choose one on the page Search"),
    (re.compile(r"GET /v1/label-sets lists those that there are"), "choose one on the page Label"),
    (re.compile(r"take an image_id from [\w ]+"), "open one from a hit of a search"),
    (re.compile(r"ask for it again without a cursor"), "load the page again"),
)
"""What programs are told to do next, and what people are told instead."""


@dataclass(frozen=True, slots=True)
class Told:
    """A problem in words.

    status: of HTTP. reference: the id of the request, as the service's log has it. words: all in a line.
    """

    status: int
    title: str
    detail: str
    reference: str
    words: str


def told_problem(error: BaseException, reference: str, sent: Iterable[str] = ()) -> Told:
    """Return what people are told of an error. sent: as `problem_of` takes it."""
    problem = problem_of(error, sent)
    detail = problem.detail
    for of_programs, of_people in _WAYS_OUT:
        detail = of_programs.sub(of_people, detail)
    problem = replace(problem, detail=detail)
    return Told(problem.status, problem.title, problem.sentence, reference, problem.words(reference))
