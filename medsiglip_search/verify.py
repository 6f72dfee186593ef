"""Is a gallery as its writers left it: each file, and then each row."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsiglip_search import checksums, gallery_folder, locks, row_checks, soundness
from medsiglip_search.checksums import FILES, Listed
from medsiglip_search.errors import GalleryDamaged, GalleryError, GalleryOutdated
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_folder import (
    HINTS,
    IMAGES,
    INDEX,
    INDEX_LOCK,
    LOCK,
    META,
    REJECTED,
    TABLES,
    TEXTS,
)
from medsiglip_search.soundness import MISSING, UNLISTED, damage
from medsiglip_search.table_files import HOW_TO_RESTORE

DELETE_INDEX = f"Delete {INDEX}/: it is derived, and the next search makes it anew"
REMOVE = "Remove it if nobody needs it"

PURGE_DUE = "images were deleted for good and are still on the disk; compact finishes that"
GONE_INDEXED = "the index has embeddings of images that are gone; compact removes them from the disk"
LAGS = "does not name the newest version"
UNFINISHED = "a writer is at work, or was ended in the middle of a change; the next index run settles that"


@dataclass(frozen=True, slots=True)
class Problem:
    """Damage: at which file or image, what it is, and what to do next."""

    place: str
    problem: str
    advice: str


@dataclass(frozen=True, slots=True)
class Verification:
    """How many images and files were checked, and what was found.

    files: those that were compared with their digests. problems: damage. notices: what is worth to know and
    none.
    """

    rows: int
    files: int
    problems: tuple[Problem, ...]
    notices: tuple[str, ...]


def verify(
    path: str | os.PathLike[str], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Verification:
    """Check every file of the gallery at `path` against its digest, and every row of the newest version.

    A row must have a finite embedding of norm 1, all that a row needs, and no other must be of the same file
    and frame. Rows are read from sound files alone: what reads them takes damage badly. A writer and readers
    may be at work meanwhile.

    progress: called with how many files are done, of how many. Raises GalleryNotFound, GalleryMismatch for
    another format version, GalleryDamaged for a gallery without gallery.json.
    """
    path = Path(path)
    if not Gallery.exists(path):
        gallery_folder.read_meta(path)  # says what stands there instead
    count, problems = _damaged_files(path, progress)
    strays, notices = _strays(path)
    problems += strays
    rows = 0
    unsound = {problem.place.split("/")[0] for problem in problems}
    if META not in unsound:
        rows, faults, more = _rows(path, [table for table in TABLES if table not in unsound])
        problems += faults
        notices += more
    faults, more = _index(path)
    return Verification(rows, count, tuple(problems + faults), tuple(notices + more))


def _damaged_files(path: Path, progress: Callable[[int, int], None]) -> tuple[int, list[Problem]]:
    """Return how many of the listed files are there, and which of them are not as they were written."""
    digests = _listed(path).digests
    problems, missing = [], 0
    for done, (name, expected) in enumerate(digests.items()):
        progress(done, len(digests))
        problem = damage(path / name, expected)
        if problem == MISSING:
            missing += 1
        elif problem:
            problems.append(Problem(name, problem, HOW_TO_RESTORE))
    progress(len(digests), len(digests))
    return len(digests) - missing, problems


def _strays(path: Path) -> tuple[list[Problem], list[str]]:
    """Return where the list and the folder differ: as problems, or as a notice while that is no wonder."""
    if not _differences(path):
        return [], []
    if locks.is_unfinished(path / LOCK):
        problems = _problems(_unexplained(path))
        return problems, [] if problems else [UNFINISHED]
    # A writer may have come to its end in between. What still differs is not its doing.
    return _problems(_differences(path)), []


def _differences(path: Path) -> Mapping[str, str]:
    """Return the files that are not there or not listed as they must be when no writer is at work."""
    # Looked at before the list is read: what a writer adds meanwhile is then no stray.
    there = _files_below(path)
    hints = dict.fromkeys(gallery_folder.wrong_hints(path), LAGS)
    try:
        listed = soundness.read_list(path)
    except GalleryError as error:
        return {FILES: _what_of(error, path / FILES)} | hints
    torn = {FILES: "cut off in the middle of a line"} if listed.torn else {}
    return torn | soundness.differences(path, there, listed.digests) | hints


def _unexplained(path: Path) -> Mapping[str, str]:
    """Return what differs and no writer has left so, one at work or one that was ended."""
    while True:
        there, before = _files_below(path), _listed(path)
        try:
            digests = soundness.read_list(path).digests
        except GalleryError as error:
            return {FILES: _what_of(error, path / FILES)}
        found = soundness.unexplained(path, soundness.differences(path, there, digests), digests)
        # What is looked at in the midst of changes may not fit together; damage stays.
        if not found or _listed(path) == before:
            return found


def _problems(differing: Mapping[str, str]) -> list[Problem]:
    return [Problem(name, what, _advice(name, what)) for name, what in differing.items()]


def _advice(name: str, what: str) -> str:
    if what == LAGS:
        return "The next index run removes it: it is derived"
    is_foreign = what == UNLISTED and not gallery_folder.is_part(name)
    return REMOVE if is_foreign else HOW_TO_RESTORE


def _what_of(error: GalleryError, place: Path) -> str:
    """Return what an error says of `place`, without the place and what to do."""
    return str(error).removeprefix(f"{place}: ").removesuffix(f". {HOW_TO_RESTORE}")


def _index(path: Path) -> tuple[list[Problem], list[str]]:
    """Return what is wrong with the files of the index, as `_strays` does."""
    if not _index_damage(path / INDEX):
        return [], []
    if locks.is_unfinished(path / INDEX_LOCK):
        return [], ["the index is being saved, or that was ended half-way; the next search makes it anew"]
    found = _index_damage(path / INDEX)
    return [Problem(f"{INDEX}/{name}", what, DELETE_INDEX) for name, what in found.items()], []


def _index_damage(folder: Path) -> Mapping[str, str]:
    """Return the files of the index that are not as they were saved, and how."""
    if not folder.is_dir():
        return {}
    there = set(os.listdir(folder)) - {FILES, Path(INDEX_LOCK).name}
    listed = _listed(folder)
    found = dict.fromkeys(there - listed.digests.keys(), UNLISTED)
    for name, expected in listed.digests.items():
        if problem := damage(folder / name, expected):
            found[name] = problem
    if listed.problem or (listed.torn and there):
        found[FILES] = "missing, or does not hold what it must"
    return found


def _rows(path: Path, tables: Collection[str]) -> tuple[int, list[Problem], list[str]]:
    """Return how many images these sound tables hold, what is wrong with rows, and what is to be removed."""
    try:
        gallery = Gallery.open(path)
        count, faults = row_checks.image_faults(gallery) if IMAGES in tables else (0, {})
        problems = [_of_rows("image", rows, f"has {fault}") for fault, rows in faults.items()]
        faults = row_checks.rejected_faults(gallery) if REJECTED in tables else {}
        problems += [_of_rows("rejected row", rows, f"has {fault}") for fault, rows in faults.items()]
        is_purge_due = gallery.is_purge_due and not locks.is_held(path / LOCK)
        is_sound = IMAGES in tables and not problems
        notices = {GONE_INDEXED: is_sound and _has_gone_images(gallery), PURGE_DUE: is_purge_due}
        return count, problems, [notice for notice, is_so in notices.items() if is_so]
    except GalleryOutdated:
        return _rows(path, tables)
    except GalleryDamaged as error:
        place = next((table for table in TABLES if str(error).startswith(f"{path / table}: ")), ".")
        return 0, [Problem(place, _what_of(error, path / place), HOW_TO_RESTORE)], []


def _of_rows(kind: str, rows: Sequence[int], fault: str) -> Problem:
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return Problem(f"{kind} {rows[0]}{more}", fault, HOW_TO_RESTORE)


def _has_gone_images(gallery: Gallery) -> bool:
    """Tell whether the index has rows on the disk that the gallery has no more."""
    return not np.isin(gallery_folder.indexed_ids(gallery.path), gallery.select(None)).all()


def _files_below(path: Path) -> set[str]:
    """Return the paths of all files that the list must have."""
    found: set[str] = set()
    for folder, _, names in os.walk(path):
        below = os.path.relpath(folder, path)
        found.update(name if below == "." else f"{below}/{name}" for name in names)
    return {name for name in found - {FILES, LOCK, *HINTS} if not name.startswith((f"{INDEX}/", f"{TEXTS}/"))}


def _listed(folder: Path) -> Listed:
    try:
        return checksums.read_list(folder)
    except OSError:
        return Listed({}, torn=True)
