"""Figures with the bounds that they must keep, as benchmarks print and write them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure and the bound that it must keep; details: what a plot or a closer look needs."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    below: float | None = None  # or as much
    details: Any = field(default=None, repr=False)

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
        return f"{self.name:58}{self.value:10.3f} {self.unit:12}{bound:14}{verdict}"


def written(path: Path, machine: Mapping[str, str], figures: Sequence[Figure]) -> None:
    """Write the figures as JSON, with what they depend on."""
    content = {"machine": machine, "figures": [asdict(figure) for figure in figures]}
    path.write_text(json.dumps(content, indent=1) + "\n")
