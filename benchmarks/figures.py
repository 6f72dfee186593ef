"""Figures with the bounds that they must keep, as benchmarks print and write them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.read import machine


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure and the bound that it must keep.

    details: what a plot or a closer look needs. digits: after the point, where it is printed.
    """

    name: str
    value: float
    unit: str
    at_least: float | None = None
    below: float | None = None  # or as much
    details: Any = field(default=None, repr=False)
    digits: int = field(default=3, repr=False)

    @property
    def holds(self) -> bool:
        return (self.at_least is None or self.value >= self.at_least) and (
            self.below is None or self.value <= self.below
        )

    def __str__(self) -> str:
        bound = ""
        if self.at_least is not None:
            bound = f"at least {self.at_least:g}"
        if self.below is not None:
            bound = f"at most {self.below:g}"
        verdict = "" if not bound else "  holds" if self.holds else "  MISSED"
        return f"{self.name:58}{self.value:10.{self.digits}f} {self.unit:12}{bound:14}{verdict}"


def report(sections: Iterable[Iterable[Figure]], libraries: Iterable[str], out: Path | None) -> list[Figure]:
    """Print each figure as it comes, and first what all depend on; write them to `out` as JSON, too.

    libraries: whose versions are told.
    """
    about = machine() | {library: version(library) for library in libraries}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    figures = []
    for section in sections:
        for figure in section:
            print(figure, flush=True)
            figures.append(figure)
    if out:
        content = {"machine": about, "figures": [asdict(figure) for figure in figures]}
        out.write_text(json.dumps(content, indent=1) + "\n")
    return figures


def require_all(figures: Iterable[Figure]) -> None:
    """End the program with 1 if a figure does not keep its bound."""
    if any(not figure.holds for figure in figures):
        raise SystemExit(1)
