"""The folder that a gallery is: its parts, gallery.json, and the writer's lock."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from medsiglip_search import locks
from medsiglip_search.errors import (
    GalleryDamaged,
    GalleryError,
    GalleryLocked,
    GalleryMismatch,
    GalleryNotFound,
)
from medsiglip_search.gallery_table import HOW_TO_RESTORE
from medsiglip_search.records import FORMAT_VERSION, GalleryMeta

META, IMAGES, REJECTED = "gallery.json", "images.lance", "rejected.lance"
INDEX, SECRET_KEY, LOCK = "index", "secret.key", "writer.lock"

_UNFINISHED = ".unfinished"
_PARTS = {META, IMAGES, REJECTED, INDEX, SECRET_KEY, LOCK, META + _UNFINISHED, SECRET_KEY + _UNFINISHED}
_META = TypeAdapter(GalleryMeta)


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
    for table in (IMAGES, REJECTED):
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
        if isinstance(version, int) and version != FORMAT_VERSION:
            raise GalleryMismatch(
                f"{path}: format version {version}, and this release reads {FORMAT_VERSION}. "
                "Use the release that made it, or index the archives into a new gallery"
            )
        return _META.validate_json(content)
    except (ValidationError, ValueError, KeyError, TypeError):
        raise GalleryDamaged(f"{path}: {META} does not hold what it must. {HOW_TO_RESTORE}") from None


def write_meta(path: Path, meta: GalleryMeta) -> None:
    """Write gallery.json, which makes the folder a gallery."""
    write_file(path / META, _META.dump_json(meta, indent=2) + b"\n", mode=0o644)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_name(path.name + _UNFINISHED)
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    os.replace(unfinished, path)


def size_bytes(path: Path) -> int:
    """Return what all files below `path` take."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:  # replaced by a writer in between
                continue
    return total


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Hold the writer's lock.

    Raises GalleryLocked at once if another writer has it, GalleryError if the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.exclusive(path / LOCK))
        except locks.Held as holder:
            process = f"process {holder.pid}" if holder.pid else "another process"
            raise GalleryLocked(f"{path}: {process} is writing to it. Wait for its end, or stop it") from None
        except OSError as error:
            raise GalleryError(f"{path}: cannot be written: {error.strerror}. Check the folder") from None
        yield


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
