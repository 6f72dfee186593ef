"""What a command prints."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medsiglip_search import terminal, wire
from medsiglip_search.encoders import DEMO_ENCODER
from medsiglip_search.terminal import note

if TYPE_CHECKING:
    from medsiglip_search.records import Result


def print_json(objects: Iterable[Mapping[str, Any]], to_stderr: bool = False) -> None:
    """Print one object per line."""
    # In ASCII, so that neither the terminal's encoding nor a control character in a name gets in the way.
    for line in map(json.dumps, objects):
        print(line, file=sys.stderr if to_stderr else sys.stdout)


def print_lines(lines: Iterable[str]) -> None:
    """Print each line."""
    for line in lines:
        print(line)


def print_cells(rows: Sequence[Sequence[str]]) -> None:
    """Print the rows with their columns under each other."""
    print_lines(terminal.aligned(rows))


def print_hits(result: "Result", query: int | None = None) -> None:
    """Print the hits of a query, and on stderr what is to be said of them all.

    query: its number, where there are several.
    """
    print_cells(terminal.hits_cells([wire.hit_json(hit) for hit in result]))
    for notice in terminal.result_notices(wire.result_json(result)):
        note(notice if query is None else f"{query}. {notice}")


def say_what_demo_knows(encoder: str) -> None:
    """Say on stderr that the demo encoder is no good for real pictures, if `encoder` is that one."""
    if encoder == DEMO_ENCODER:
        note(
            "The demo encoder knows synthetic pictures only; real ones need a gallery of --encoder medsiglip."
        )


def say_failed(message: str, exit_code: int) -> int:
    """Say on stderr what went wrong; returns `exit_code`."""
    note("error: " + " ".join(message.split()))
    return exit_code
