"""What the commands write for people: results on stdout, progress and notices on stderr."""

import logging
import os
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_PROGRESS_SECONDS = 10.0

Show = Callable[[int, int, str], None]
"""Takes how much is done, how much there is, and a word on it."""


def printable(text: str) -> str:
    """Return `text` on one line and without anything a terminal would obey: a file may bear any name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as lines with their columns under each other."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


PROGRAM = "medsiglip-search"
REPORT_WIDTH = 60
HIT_HEADER = ("rank", "score", "relevance", "image_id", "image", "what", "report")


def hit_cells(hit: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a hit, as JSON has it, under `HIT_HEADER`."""
    what = [hit[name] for name in ("modality", "body_part", "laterality", "view_position", "year")]
    return (
        str(hit["rank"]),
        f"{hit['score']:.3f}",
        f"{hit['relevance']:+.1f}",
        str(hit["image_id"]),
        _place(hit["uri"], hit["frame"]),
        " ".join(str(one) for one in what if one is not None),
        _shortened(str(hit.get("report") or "")),
    )


def rejected_cells(rejected: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a rejection, as JSON has it: reason, file, why."""
    return rejected["reason"], _place(rejected["uri"], rejected["frame"]), rejected["message"]


def picture_cells(picture: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of a picture, as JSON has it, a name and a word each."""
    return [
        (name, ", ".join(word) or "none" if isinstance(word, list) else str(word))
        for name, word in picture.items()
        if word is not None
    ]


def report_cells(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what an index run did, as JSON has it, a name and a word each."""
    rate = f" in {report['seconds']:.1f} s, {report['images_per_second']:.1f} a second"
    counts = [
        (name, f"{report[name]} files") for name in ("unchanged", "replaced", "removed") if report[name]
    ]
    return [
        ("embedded", f"{report['embedded']} images{rate if report['embedded'] else ''}"),
        *counts,
        _by_reason(report["rejected"]),
    ]


def gallery_cells(gallery: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a gallery holds, as JSON has it, a name and a word each."""
    spec = gallery["spec"]
    return [
        ("images", str(gallery["images"])),
        _by_reason(gallery["rejected"]),
        ("encoder", f"{gallery['encoder']}, {gallery['revision']}, weights {gallery['weights_digest'][:12]}"),
        ("embeddings", f"{gallery['dim']} numbers each"),
        ("pictures", f"{spec['size']} x {spec['size']}, {spec['fit']}, {spec['resample']}"),
        ("CT windows", f"{_ct_windows(spec['rendering']['ct'])} HU"),
        ("identifiers", gallery["identifiers"]),
        ("version", str(gallery["version"])),
        ("size", f"{gallery['size_bytes'] / 1e6:.1f} MB"),
        ("columns", ", ".join(gallery["columns"])),
    ]


def _ct_windows(windows: Sequence[Mapping[str, Any]]) -> str:
    """Return each window once: the same three times is a single grey one."""
    return ", ".join(dict.fromkeys(f"{window['low']:g} to {window['high']:g}" for window in windows))


def _shortened(text: str) -> str:
    return text if len(text) <= REPORT_WIDTH else text[: REPORT_WIDTH - 3] + "..."


def _by_reason(rejected: Mapping[str, int]) -> tuple[str, str]:
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(rejected.items()))
    return "rejected", f"{sum(rejected.values())}: {reasons}" if reasons else "0"


def _place(uri: str, frame: int | None) -> str:
    return f"{uri} frame {frame}" if frame else uri


def command(name: str, gallery: Path) -> str:
    """Return what to type for a command on a gallery, as it can be typed here: by its path if need be."""
    started = Path(sys.argv[0])
    program = str(started) if started.name == PROGRAM and not shutil.which(PROGRAM) else PROGRAM
    return f"{shlex.quote(program)} {name} {shlex.quote(str(gallery))}"


def note(text: str) -> None:
    """Write a line on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def progress(title: str) -> Iterator[Show]:
    """Yield what shows how far a long job is: a bar on a terminal, else a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[word]}"), TimeRemainingColumn())
    with Progress(TextColumn(title), *columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, word="")
        yield lambda done, total, word: bar.update(task, completed=done, total=total, word=word)


def _lines(title: str) -> Show:
    told = time.monotonic()

    def show(done: int, total: int, word: str) -> None:
        nonlocal told
        if time.monotonic() - told >= PLAIN_PROGRESS_SECONDS:
            told = time.monotonic()
            note(f"{title}: {done} of {total}, {word}")

    return show


def quieten_libraries() -> None:
    """Leave the user's terminal to this project: notices of its own go to stderr, those of libraries nowhere.

    What matters of them reaches the user as an error or a rejection. `python -W` brings the warnings back.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("medsiglip_search", "indexer", "ui"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.handlers = [_NoticeHandler()]


class _NoticeHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        note(prefix + record.getMessage())
