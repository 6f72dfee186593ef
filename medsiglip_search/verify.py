"""Is a gallery as its writers left it: each file, and then each row."""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medsiglip_search import checksums, gallery_folder, locks, row_checks
from medsiglip_search.checksums import FILES, Listed
from medsiglip_search.errors import GalleryDamaged, GalleryOutdated
from medsiglip_search.files import digest
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_folder import HINTS, IMAGES, INDEX, INDEX_LOCK, LOCK, META, REJECTED, TABLES
from medsiglip_search.table_files import HOW_TO_RESTORE

DELETE_INDEX = f"Delete {INDEX}/: it is derived, and the next search makes it anew"
DELETE_LIST = f"If all else is sound, delete {FILES}: the next index run writes it anew"
REMOVE = "Remove it if nobody needs it"

MISSING = "missing"
STALE_INDEX = "the index is of another version; the next search makes it anew"
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

    problems: damage. notices: what is worth to know and none.
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
    """Return how many files are listed, and which of them are not as they were written."""
    digests = _listed(path).digests
    problems = []
    for done, (name, expected) in enumerate(digests.items()):
        progress(done, len(digests))
        problem = _damage(path / name, expected)
        if problem not in (None, MISSING):
            problems.append(Problem(name, problem, HOW_TO_RESTORE))
    progress(len(digests), len(digests))
    return len(digests), problems


def _strays(path: Path) -> tuple[list[Problem], list[str]]:
    """Return where the list and the folder differ: as problems, or as a notice while that is no wonder."""
    if not _differences(path):
        return [], []
    if locks.is_unfinished(path / LOCK):
        return [], [UNFINISHED]
    # A writer may have come to its end in between. What still differs is not its doing.
    return _differences(path), []


def _differences(path: Path) -> list[Problem]:
    # Looked at before the list is read: what a writer adds meanwhile is then no stray.
    there = _files_below(path)
    hints = gallery_folder.wrong_hints(path)
    listed = _listed(path)
    problems = [Problem(FILES, f"line {number} is none", DELETE_LIST) for number in listed.malformed]
    if listed.torn:
        problems.append(Problem(FILES, "missing, or cut off in the middle of a line", DELETE_LIST))
    for name in sorted(listed.digests.keys() - there):
        if not (path / name).exists():
            problems.append(Problem(name, MISSING, HOW_TO_RESTORE))
    for name in sorted(there - listed.digests.keys()):
        if (path / name).exists():
            problems.append(Problem(name, f"not listed in {FILES}", f"{REMOVE}. {DELETE_LIST}"))
    for hint in hints:
        problems.append(Problem(hint, "does not name the newest version", "Delete it: it is derived"))
    return problems


def _index(path: Path) -> tuple[list[Problem], list[str]]:
    """Return what is wrong with the files of the index, as `_strays` does."""
    if not _index_damage(path / INDEX):
        return [], []
    if locks.is_unfinished(path / INDEX_LOCK):
        return [], ["the index is being saved, or that was ended half-way; the next search makes it anew"]
    damage = _index_damage(path / INDEX)
    return [Problem(f"{INDEX}/{name}", what, DELETE_INDEX) for name, what in damage.items()], []


def _index_damage(folder: Path) -> Mapping[str, str]:
    """Return the files of the index that are not as they were saved, and how."""
    if not folder.is_dir():
        return {}
    there = set(os.listdir(folder)) - {FILES, Path(INDEX_LOCK).name}
    listed = _listed(folder)
    damage = dict.fromkeys(there - listed.digests.keys(), f"not listed in {FILES}")
    for name, expected in listed.digests.items():
        if problem := _damage(folder / name, expected):
            damage[name] = problem
    if listed.malformed or (listed.torn and there):
        damage[FILES] = "missing, or does not hold what it must"
    return damage


def _rows(path: Path, tables: Collection[str]) -> tuple[int, list[Problem], list[str]]:
    """Return how many images these sound tables hold, what is wrong with rows, and whether the index fits."""
    try:
        gallery = Gallery.open(path)
        count, faults = row_checks.image_faults(gallery) if IMAGES in tables else (0, {})
        problems = [_of_rows("image", rows, f"has {fault}") for fault, rows in faults.items()]
        faults = row_checks.rejected_faults(gallery) if REJECTED in tables else {}
        problems += [_of_rows("rejected row", rows, f"has {fault}") for fault, rows in faults.items()]
        return count, problems, [STALE_INDEX] if _has_stale_index(gallery) else []
    except GalleryOutdated:
        return _rows(path, tables)
    except GalleryDamaged as error:
        what = str(error).removeprefix(f"{path}: ").removesuffix(f". {HOW_TO_RESTORE}")
        return 0, [Problem(str(path), what, HOW_TO_RESTORE)], []


def _of_rows(kind: str, rows: Sequence[int], fault: str) -> Problem:
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return Problem(f"{kind} {rows[0]}{more}", fault, HOW_TO_RESTORE)


def _has_stale_index(gallery: Gallery) -> bool:
    """Tell whether the index was made of another version than the newest."""
    for note in (gallery.path / INDEX).glob("*.json"):
        try:
            if json.loads(note.read_bytes()).get("gallery") != gallery.state:
                return True
        except (OSError, ValueError, AttributeError):
            continue  # damage is told by its checksum
    return False


def _files_below(path: Path) -> set[str]:
    """Return the paths of all files that the list must have."""
    found: set[str] = set()
    for folder, _, names in os.walk(path):
        below = os.path.relpath(folder, path)
        found.update(name if below == "." else f"{below}/{name}" for name in names)
    return {name for name in found - {FILES, LOCK, *HINTS} if not name.startswith(f"{INDEX}/")}


def _listed(folder: Path) -> Listed:
    try:
        return checksums.read_list(folder)
    except OSError:
        return Listed({}, torn=True)


def _damage(path: Path, expected: str) -> str | None:
    """Return what is wrong with a file whose digest must be `expected`."""
    try:
        return None if digest(path) == expected else "not as it was written"
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return f"cannot be read: {error.strerror}"
