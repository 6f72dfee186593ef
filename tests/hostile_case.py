"""What is said of one hostile or odd file: how to make it, and what must come of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsiglip_search.errors import Reason

PATIENT = "Doe^Jane"
"""Stands in the names and texts of all files; no message may repeat it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The file is a picture, or several.

    pixels, last: of the first and of the last frame, (H, W, 3) uint8, where they are known.
    """

    frames: int = 1
    size: tuple[int, int] = (32, 32)
    flags: tuple[str, ...] = ()
    pixels: np.ndarray | None = None
    last: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One file.

    build: returns its content.
    row: of the table of inputs in the design, which says what must come of it.
    """

    name: str
    build: Callable[[], bytes]
    outcome: Reason | Shown
    row: int


@dataclass(frozen=True, slots=True)
class PathCase:
    """Something on disk that is more than its content; `make` puts it into a folder and returns its path."""

    name: str
    make: Callable[[Path], Path]
    outcome: Reason | Shown
    row: int
