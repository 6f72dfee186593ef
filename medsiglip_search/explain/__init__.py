"""Hits to an explanation: what speaks for the result, in words and with its sources."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from medsiglip_search.explain.picture_evidence import Caution, PictureEvidence
from medsiglip_search.records import Hit
from medsiglip_search.windows import RenderSpec

DEMO_EXPLAINER_FOLDER = Path(__file__).parents[1] / "demo" / "explainer_weights"
"""The checkpoint of the demo explainer, which knows synthetic pictures only."""

Pictures = Callable[[RenderSpec, int], list[np.ndarray]]
"""Reads a case's picture, or at most so many of its slices in their order, (H, W, 3) uint8 each. Raises
Unreadable."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One picture that is explained: the query's own, or a hit.

    subject: how an explanation calls it, "query" or "hit 1". known: what its file says of how it was taken,
    as a prompt may tell it. whole: what is known of all slices of its volume together, where it is of one.
    record: what is written down about it, findings and report, None where nothing is.
    """

    subject: str
    evidence: PictureEvidence
    pictures: Pictures
    whole: Callable[[], PictureEvidence]
    known: str = ""
    record: str | None = None
    report: str | None = None
    hit: Hit | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A result that is to be explained.

    asked: what was searched for, in words. query: the picture that was asked about, None of a text.
    matches: whether the best hit stands out of the gallery. cautions: what gathering it met with.
    """

    asked: str
    query: Case | None
    hits: tuple[Case, ...]
    matches: bool
    cautions: tuple[Caution, ...] = ()

    @property
    def cases(self) -> tuple[Case, ...]:
        """The query's picture, if there is one, and the hits."""
        return (self.query, *self.hits) if self.query is not None else self.hits


@dataclass(frozen=True, slots=True)
class Stated:
    """A finding in an explanation, with its side in the name, and where it comes from: "record of hit 1"."""

    finding: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaseExplanation:
    """What is said of one picture.

    description: in the explainer's words, plain text; empty where it said nothing. findings: with their side,
    as the explainer names them. matches, differs: why it answers the query, and what is different; empty for
    the query. parsed: whether the description came in the form that was asked for. scores: zero-shot, of the
    findings that are recorded or count as present.
    """

    subject: str
    image_id: int | None
    description: str
    findings: tuple[str, ...]
    normal: tuple[str, ...] = ()
    matches: str = ""
    differs: str = ""
    parsed: bool = True
    scores: Mapping[str, float] = field(default_factory=dict)
    cautions: tuple[Caution, ...] = ()


State = Literal["done", "partial", "cancelled", "failed"]
"""How an explanation ended. partial: some pictures could not be described; failed: none."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an explainer says of a result.

    evidence: what speaks for the result without a language model; always there. summary: the explainer's own.
    cases: picture by picture. findings: most supported first. cautions: what to look at before trusting it.
    reports, draft: a summary of the hits' reports and the draft of a report, where they were asked for.
    problem: why it is not done. prompt_digest: of what was asked, pictures included.
    """

    explainer: str
    revision: str
    state: State
    evidence: str
    summary: str
    cases: tuple[CaseExplanation, ...]
    findings: tuple[Stated, ...]
    cautions: tuple[Caution, ...]
    reports: str = ""
    draft: str = ""
    problem: str = ""
    prompt_version: str = ""
    prompt_digest: str = ""
    seconds: float = 0.0
    tokens: int = 0


TellPiece = Callable[[str, str], None]
"""Takes each piece of text as it is made, with its subject: "query", "hit 1", "summary"."""


def untold(subject: str, text: str) -> None:
    """Take a piece of text, and do nothing with it."""


class Explainer(Protocol):
    """Says why the hits answer the query; search works without one."""

    name: str

    def explain(
        self, question: Question, tell: TellPiece = untold, stop: threading.Event | None = None
    ) -> Explanation:
        """Explain a result; end within a second after `stop` is set, with what was said until then.

        Whatever breaks down is told in the explanation's state.
        """
        ...
