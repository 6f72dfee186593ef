"""Hits to an explanation: what speaks for the result, in words and with its sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medsiglip_search.records import Hit

DEMO_EXPLAINER_FOLDER = Path(__file__).parents[1] / "demo" / "explainer_weights"
"""The checkpoint of the demo explainer, which knows synthetic pictures only."""


@dataclass(frozen=True, slots=True)
class Support:
    """A finding and how many of the hits are recorded with it."""

    finding: str
    hits: int
    of: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an explainer says of a result.

    summary: plain sentences. findings: most supported first. warnings: what to look at before trusting it.
    """

    explainer: str
    summary: str
    findings: tuple[Support, ...]
    warnings: tuple[str, ...]


class Explainer(Protocol):
    """Says why the hits answer the query; search works without one."""

    name: str

    def explain(self, query: str, hits: Sequence[Hit]) -> Explanation: ...
