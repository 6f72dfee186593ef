"""What the commands write for people: results on stdout, progress and notices on stderr."""

import json
import logging
import math
import os
import shlex
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

PLAIN_PROGRESS_SECONDS = 10.0
JSON_PROGRESS_SECONDS = 1.0

Show = Callable[[int, int | None, str], None]
"""Takes how much is done, how much there is, None while that is not known, and a word on it."""


def printable(text: str) -> str:
    """Return `text` on one line and without anything a terminal would obey: a file may bear any name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as lines with their columns under each other."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


Cells = Callable[[Mapping[str, Any]], Sequence[str]]
"""Makes a line's cells of an object, as JSON has it."""

PROGRAM = "medsiglip-search"
REPORT_WIDTH = 60
RUN_HEADER = (
    "started",
    "state",
    "embedded",
    "unchanged",
    "replaced",
    "removed",
    "rejected",
    "rate",
    "archives",
)
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


def hits_cells(hits: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return hits, as JSON has them, under their header; with a column of counts where any is above 1."""
    if not hits:
        return [("no image fits",)]
    rows = [HIT_HEADER, *map(hit_cells, hits)]
    if all(hit["count"] == 1 for hit in hits):
        return rows
    counts = ["count", *(str(hit["count"]) for hit in hits)]
    return [(*row[:3], count, *row[3:]) for row, count in zip(rows, counts, strict=True)]


def result_notices(result: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of a result, as JSON has it, beside its hits."""
    notices = [note[:1].upper() + note[1:] for note in result["notes"]]
    if result["hits"] and not result["matches"]:
        notices.append("Nothing stands out: the gallery probably holds no match, and these are the nearest.")
    return notices


def rejected_cells(rejected: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a rejection, as JSON has it: reason, file, why."""
    return rejected["reason"], _place(rejected["uri"], rejected["frame"]), rejected["message"]


def run_cells(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a run of index, as JSON has it, under `RUN_HEADER`."""
    counts = [str(run[name]) for name in ("embedded", "unchanged", "replaced", "removed")]
    rejected, rate = sum(run["rejected"].values()), run["images_per_second"]
    return run["started"], run["state"], *counts, str(rejected), f"{rate:.1f}/s", " ".join(run["archives"])


def index_word(progress: Mapping[str, Any]) -> str:
    """Return how an index run goes, as JSON has it, in a few words."""
    word = f"{progress['embedded']} embedded, {progress['images_per_second']:.1f} a second"
    left = progress["seconds_left"]
    return word if left is None else f"{word}, {timedelta(seconds=round(left))} left"


def verification_cells(verification: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was checked and found, as JSON has it."""
    problems, notices, gone = (verification.get(name) for name in ("problems", "notices", "gone"))
    return [
        ("checked", f"{counted(verification['rows'], 'image')}, {counted(verification['files'], 'file')}"),
        *(("problem", f"{one['place']}: {one['problem']}. {one['advice']}") for one in problems or ()),
        *(("notice", one) for one in notices or ()),
        *(
            ("gone", f"{one['uri'] or 'all files, for it cannot be opened'}, of {one['archive']}")
            for one in gone or ()
        ),
        ("result", counted(len(problems), "problem") if problems else "sound"),
    ]


def compaction_cells(compaction: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what compacting changed, as JSON has it, a name and a word each."""
    before, after = compaction["bytes_before"] / 1e6, compaction["bytes_after"] / 1e6
    return [
        ("files", f"{compaction['files_before']} before, {compaction['files_after']} now"),
        ("size", f"{before:.1f} MB before, {after:.1f} MB now"),
    ]


def deletion_cells(deletion: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was deleted, as JSON has it, a name and a word each."""
    deleted = f"{counted(deletion['deleted'], 'image')}, {counted(deletion['rejected'], 'rejection')}"
    on_disk = "nothing of them is left" if deletion["purged"] else "until a later compact, or delete --purge"
    return [("deleted", deleted), ("on the disk", on_disk), ("images", f"{deletion['images']} left")]


def label_cells(rows: Sequence[Mapping[str, Any]], count: int, of_what: str) -> list[tuple[str, ...]]:
    """Return the summary of labels, as JSON has it, under a header; of so many images, studies, ..."""
    header = (f"of {count} {of_what}", "present", "absent", "abstain", "share", "mean probability")
    return [
        header,
        *(
            (
                row["label"],
                *(str(row[word]) for word in ("present", "absent", "abstain")),
                f"{100 * row['share']:.1f} %",
                f"{row['mean_probability']:.3f}",
            )
            for row in rows
        ),
    ]


def calibration_cells(checks: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return how a calibration does on other patients, as JSON has it, under a header."""
    header = ("label", "images", "with it", "error before", "after", "sensitivity", "kept", "right of kept")
    figures = ("error_before", "error_after", "sensitivity", "kept", "right")
    rows = [
        (one["label"], str(one["images"]), str(one["present"]), *(figure(one[name]) for name in figures))
        for one in checks
    ]
    return [header, *rows]


def probe_cells(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return what a probe was trained on and how it does on other patients, as JSON has it."""
    cells = [(row["label"], str(row["present"]), figure(row["auc"])) for row in rows]
    return [("label", "images with it", "AUC on other patients"), *cells]


def figure(value: float | None) -> str:
    """Return a figure with three decimals; a word where there is none."""
    return "undefined" if value is None else f"{value:.3f}"


def export_cells(export: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was exported, as JSON has it, a name and a word each."""
    return [
        ("exported", f"{counted(export['rows'], 'image')}, {export['size_bytes'] / 1e6:.1f} MB"),
        ("file", export["file"]),
    ]


def import_cells(imported: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was imported, as JSON has it, a name and a word each."""
    return [("imported", f"{counted(imported['rows'], 'image')} of {counted(imported['files'], 'file')}")]


def merge_cells(merged: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was merged, as JSON has it, a name and a word each."""
    return [
        (
            "added",
            f"{counted(merged['rows'], 'image')}; {counted(merged['files'], 'file')} embedded or rejected",
        ),
        ("left alone", f"{counted(merged['already_there'], 'file')} that the gallery had already"),
    ]


def backup_cells(backup: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was copied, as JSON has it, a name and a word each."""
    copied = f"{counted(backup['images'], 'image')}, {backup['size_bytes'] / 1e6:.1f} MB"
    return [("copied", copied), ("backup", backup["backup"])]


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
        (name, counted(report[name], "file")) for name in ("unchanged", "replaced", "removed") if report[name]
    ]
    return [
        ("embedded", f"{counted(report['embedded'], 'image')}{rate if report['embedded'] else ''}"),
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
        ("last run", f"{run['started']}, {run['state']}" if (run := gallery["last_run"]) else "none"),
    ]


def _ct_windows(windows: Sequence[Mapping[str, Any]]) -> str:
    """Return each window once: the same three times is a single grey one."""
    return ", ".join(dict.fromkeys(f"{window['low']:g} to {window['high']:g}" for window in windows))


def _shortened(text: str) -> str:
    return text if len(text) <= REPORT_WIDTH else text[: REPORT_WIDTH - 3] + "..."


def counted(number: int, word: str) -> str:
    """Return a number and what is counted: 1 image, 2 images."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


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
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[word]}"))
    with Progress(TextColumn(title), *columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, word="")
        yield lambda done, total, word: bar.update(task, completed=done, total=total, word=word)


@contextmanager
def json_progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield what writes objects on stderr, a line each: progress for programs, once a second and the last."""
    told, held_back = -math.inf, None

    def write(state: Mapping[str, Any]) -> None:
        print(json.dumps(state), file=sys.stderr, flush=True)

    def tell(state: Mapping[str, Any]) -> None:
        nonlocal told, held_back
        held_back = state
        if time.monotonic() - told >= JSON_PROGRESS_SECONDS:
            told, held_back = time.monotonic(), None
            write(state)

    try:
        yield tell
    finally:
        if held_back is not None:
            write(held_back)


def _lines(title: str) -> Show:
    told = time.monotonic()

    def show(done: int, total: int | None, word: str) -> None:
        nonlocal told
        if time.monotonic() - told >= PLAIN_PROGRESS_SECONDS:
            told = time.monotonic()
            note(f"{title}: {done}{'' if total is None else f' of {total}'}, {word}")

    return show


def quieten_libraries() -> None:
    """Leave the user's terminal to this project: notices of its own go to stderr, those of libraries nowhere.

    What matters of them reaches the user as an error or a rejection. `python -W` brings the warnings back.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("LANCE_LOG", "error")
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("medsiglip_search", "indexer", "ui"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.handlers = [_NoticeHandler()]


def end_as_by_ctrl_c() -> None:
    """Take the ways in which a system ends a program for Ctrl-C: what is done is stored first.

    The jobs in a shell script's background are started with Ctrl-C ignored; it is heeded here all the same.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup the second is ignored, and stays so
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


class _NoticeHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        note(prefix + record.getMessage())
