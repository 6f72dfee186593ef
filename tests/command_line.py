"""Running the commands as a user does, for their tests."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

NOTICES = ("The demo encoder knows synthetic pictures only", "1 table beside the pictures left aside")
SCRIPT = Path(sys.executable).parent / "medsiglip-search"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: list[str]
    err: list[str]

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out]


Run = Callable[..., Outcome]


def gradient(start: int) -> Image.Image:
    picture = Image.linear_gradient("L").point(lambda value: (value + start) % 256)
    return picture.resize((40, 30)).convert("RGB")


def one_error(outcome: Outcome) -> str:
    """Return the message of a command that failed as it should: in one line, and nothing else."""
    assert outcome.out == []
    errors = [line for line in outcome.err if not line.startswith(NOTICES)]
    assert len(errors) == 1, errors
    assert errors[0].startswith("error: ")
    return errors[0].removeprefix("error: ")
