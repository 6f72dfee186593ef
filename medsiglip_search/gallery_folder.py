"""The folder that a gallery is: its parts, gallery.json, the run reports, and the writer's lock."""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from medsiglip_search import checksums, locks
from medsiglip_search.checksums import FILES
from medsiglip_search.errors import (
    GalleryDamaged,
    GalleryError,
    GalleryLocked,
    GalleryMismatch,
    GalleryNotFound,
)
from medsiglip_search.files import UNFINISHED, write_file
from medsiglip_search.records import FORMAT_VERSION, GalleryMeta, Run
from medsiglip_search.table_files import FOLDERS, HINT, HOW_TO_RESTORE, VERSIONS, hint_of, newest_version

META, IMAGES, REJECTED = "gallery.json", "images.lance", "rejected.lance"
INDEX, SECRET_KEY, LOCK, RUNS = "index", "secret.key", "writer.lock", "runs"
TEXTS = "texts"  # of label sets, embedded; derived as the index is
INDEX_LOCK, INDEXED = "index/lock", "index/rows.ids"
TABLES = (IMAGES, REJECTED)
HINTS = tuple(f"{table}/{VERSIONS}/{HINT}" for table in TABLES)

_WRITTEN_WHOLE = (META, SECRET_KEY, FILES)
_PARTS = {*TABLES, INDEX, TEXTS, RUNS, LOCK, *_WRITTEN_WHOLE, *(name + UNFINISHED for name in _WRITTEN_WHOLE)}
_META = TypeAdapter(GalleryMeta)
_RUN = TypeAdapter(Run)


def prepare(path: Path) -> None:
    """Make the folder `path`, or find it empty but for what a killed creation left.

    Raises GalleryNotFound if it holds anything else, GalleryError if it holds a gallery, GalleryDamaged if it
    holds one without gallery.json, OSError.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise GalleryNotFound(f"{path}: a file stands there. Name a folder") from None
    if (path / META).exists():
        raise GalleryError(f"{path}: there is a gallery already. Add to it, or name another folder")
    if not set(os.listdir(path)) <= _PARTS:
        raise GalleryNotFound(f"{path}: holds other files and no gallery. Name a new folder")
    _refuse_headless(path)


def clear(path: Path) -> None:
    """Take away the tables that a killed creation left; to be called under the writer's lock."""
    for table in TABLES:
        shutil.rmtree(path / table, ignore_errors=True)


def read_meta(path: Path) -> GalleryMeta:
    """Return what gallery.json says.

    Raises GalleryNotFound, GalleryMismatch for another format version, GalleryDamaged.
    """
    try:
        content = (path / META).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise _not_found(path) from None
    except OSError as error:
        raise GalleryError(f"{path}: {META} cannot be read: {error.strerror}") from None
    try:
        found = from_json(content)
        version = found["format_version"]
        if type(version) is not int:  # the model would take "2", and true for 1
            raise TypeError
        if version != FORMAT_VERSION:
            raise GalleryMismatch(
                f"{path}: format version {version}, and this release reads {FORMAT_VERSION}. "
                "Use the release that made it, or index the archives into a new gallery"
            )
        return _META.validate_json(content)
    except (ValidationError, ValueError, KeyError, TypeError):
        raise GalleryDamaged(f"{path}: {META} does not hold what it must. {HOW_TO_RESTORE}") from None


def meta_bytes(meta: GalleryMeta) -> bytes:
    """Return what gallery.json holds; once it is there, the folder is a gallery."""
    return _META.dump_json(meta, indent=2) + b"\n"


def complete(path: Path, head: bytes, digests: Mapping[str, str]) -> None:
    """Write the list of files and, with gallery.json, what makes the folder a gallery. Raises OSError."""
    checksums.write_list(path, {META: sha256(head).hexdigest(), **digests})
    write_file(path / META, head)


def run_files(path: Path) -> list[str]:
    """Return the names of the reports of all runs, below the gallery's own, the newest first."""
    return [f"{RUNS}/{name}" for name in sorted(_names(path / RUNS), reverse=True) if name.endswith(".json")]


def write_run(path: Path, run: Run) -> str:
    """Write the report of a run, in place of an earlier one of the same run; return its name."""
    (path / RUNS).mkdir(exist_ok=True)
    started = datetime.fromisoformat(run.started).astimezone(UTC)
    name = f"{RUNS}/{started:%Y%m%dT%H%M%S.%fZ}.json"
    write_file(path / name, _RUN.dump_json(run, indent=2) + b"\n")
    return name


def read_runs(path: Path) -> list[Run]:
    """Return the reports of all runs, the newest first. Raises GalleryDamaged."""
    runs = []
    for name in run_files(path):
        try:
            runs.append(_RUN.validate_json((path / name).read_bytes()))
        except (OSError, ValueError):
            raise GalleryDamaged(f"{path / name}: does not hold what it must. {HOW_TO_RESTORE}") from None
    is_at_work = locks.is_held(path / LOCK)
    return [
        replace(run, state="killed") if run.state == "running" and (earlier or not is_at_work) else run
        for earlier, run in enumerate(runs)
    ]


def is_part(name: str) -> bool:
    """Tell whether a path below the gallery's own is, or lies in, something that belongs to a gallery."""
    return name.split("/")[0] in _PARTS


def lasting_files(path: Path) -> set[str]:
    """Return the paths, below the gallery's own, of all files that are never written again."""
    places = {f"{table}/{folder}/": end for table in TABLES for folder, end in FOLDERS.items()}
    found = {name for name in (META, SECRET_KEY) if (path / name).exists()}
    for place, end in (places | {f"{RUNS}/": ".json"}).items():
        found.update(place + name for name in _names(path / place) if name.endswith(end) and _is_whole(name))
    return found


def sweep(path: Path) -> None:
    """Remove the files that a killed writer had begun; to be called under the writer's lock."""
    for place in ("", RUNS, *(f"{table}/{folder}" for table in TABLES for folder in FOLDERS)):
        for name in _names(path / place):
            if not _is_whole(name):
                (path / place / name).unlink(missing_ok=True)


def wrong_hints(path: Path) -> list[str]:
    """Return the hints that are there and do not name the newest version, which is no harm."""
    contents = {hint: _content(path / hint) for hint in HINTS}
    newest = [newest_version(path / table) or 0 for table in TABLES]
    return [
        hint
        for (hint, content), version in zip(contents.items(), newest, strict=True)
        if content not in (None, hint_of(version))
    ]


def remove_wrong_hints(path: Path) -> None:
    """Remove the `wrong_hints`, which a kill or a full disk leaves; the next commit writes new ones."""
    for hint in wrong_hints(path):
        (path / hint).unlink(missing_ok=True)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _is_whole(name: str) -> bool:
    # Lance writes data under names like .tmpAbCdEf, and other files under their own with a # and a number.
    return not (name.startswith(".tmp") or name.endswith(UNFINISHED) or "#" in name)


def usage(path: Path) -> tuple[int, int]:
    """Return how many files there are below `path`, and how many bytes they hold."""
    count = size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                size += os.lstat(os.path.join(folder, name)).st_size
                count += 1
            except FileNotFoundError:  # replaced by a writer in between
                continue
    return count, size


def indexed_ids(path: Path) -> np.ndarray:
    """Return the ids of the images whose embeddings the index has on the disk, (N,) int64."""
    content = _content(path / INDEXED) or b""
    return np.frombuffer(content[: len(content) // 16 * 16], np.int64)[::2]


def remove_index(path: Path, unless_among: np.ndarray | None = None) -> None:
    """Remove the files of the index, or only if it has images that are not among these image_ids.

    Raises GalleryLocked if a process is saving them for long, OSError.
    """
    folder = path / INDEX
    if not folder.exists():
        return
    for _ in range(600):
        try:
            with locks.exclusive(path / INDEX_LOCK) as hold:
                if unless_among is None or not np.isin(indexed_ids(path), unless_among).all():
                    # Not the lock: another process could take a new one of that name meanwhile.
                    remove_all(folder, set(os.listdir(folder)) - {Path(INDEX_LOCK).name})
                hold.finish()
            return
        except locks.Held:
            time.sleep(0.1)
    raise GalleryLocked(f"{folder}: a process has been writing there for a minute. Stop it, and run again")


def remove_all(folder: Path, names: Iterable[str]) -> None:
    """Remove these files of a folder, and folders that others have put there. Raises OSError."""
    for name in names:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise GalleryError for what the disk does not take."""
    try:
        yield
    except OSError as error:
        raise GalleryError(
            f"{path}: cannot be written: {error.strerror}. What was committed before is kept; run again"
        ) from error


def require_no_writer(path: Path) -> None:
    """Raise GalleryLocked if a writer is at work; another one can come right after."""
    try:
        locks.require_free(path / LOCK)
    except locks.Held as held:
        raise _locked(path, held) from None


def _locked(path: Path, held: locks.Held) -> GalleryLocked:
    process = f"process {held.pid}" if held.pid else "another process"
    return GalleryLocked(f"{path}: {process} is writing to it. Wait for its end, or stop it")


@contextmanager
def writer_lock(path: Path) -> Iterator[locks.Hold]:
    """Hold the writer's lock.

    Raises GalleryLocked at once if another writer has it, and where `Hold.require_own` tells that another one
    may have it by now; GalleryError if the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            hold = stack.enter_context(locks.exclusive(path / LOCK))
        except locks.Held as held:
            raise _locked(path, held) from None
        except OSError as error:
            raise GalleryError(f"{path}: cannot be written: {error.strerror}. Check the folder") from None
        try:
            yield hold
        except locks.Lost:
            raise GalleryLocked(
                f"{path}: {LOCK} was removed while this process was writing, so that another one may write "
                "too. Run again when none does, and leave that file alone"
            ) from None


def _not_found(path: Path) -> GalleryNotFound:
    if path.is_dir():
        _refuse_headless(path)
        what = "a folder without a gallery"
    else:
        what = "a file, not a gallery" if path.exists() else "no gallery here"
    return GalleryNotFound(f"{path}: {what}. Make one with: medsiglip-search index FOLDER ARCHIVE")


def _refuse_headless(path: Path) -> None:
    # A creation that was killed has written no row.
    if any(path.joinpath(IMAGES, "data").glob("*")):
        raise GalleryDamaged(f"{path}: {META} is missing. {HOW_TO_RESTORE}")
