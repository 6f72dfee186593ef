"""The files of the index, each with a digest: FAISS and a mapped array take damage without a word.

A part of the index is a note in JSON and files beside it, all of one name: `rows.json`, `rows.f16`. The list
`files.sha256` in the folder vouches for all of them. Whatever does not fit it is made anew: it is derived.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from io import BufferedReader
from pathlib import Path
from typing import Any

from medsiglip_search import checksums, locks
from medsiglip_search.checksums import FILES
from medsiglip_search.files import UNFINISHED, write_file
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_folder import INDEX, INDEX_LOCK, remove_all

FORMAT_VERSION = 1
"""Of all parts; parts of another version are made anew."""

_CHUNK, _READ = 64 << 20, 1 << 22  # bytes of a file that have a digest of their own; of them, read at once

log = logging.getLogger(__name__)

Write = Callable[[Path], None]
"""Writes one file. Raises OSError, or RuntimeError where FAISS does."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the index as it was saved.

    files: by ending; open, and checked. Another process may put newer ones in their place meanwhile.
    """

    note: Mapping[str, Any]
    files: Mapping[str, BufferedReader]


def load(gallery: Gallery, name: str, endings: tuple[str, ...]) -> Part | None:
    """Return a saved part, or None if there is none that is sound; damage is told in the log."""
    folder = gallery.path / INDEX
    opened: dict[str, BufferedReader] = {}
    try:
        content = (folder / f"{name}.json").read_bytes()
        digests = checksums.read_list(folder).digests
        if digests.get(f"{name}.json") == sha256(content).hexdigest():
            note = json.loads(content)
            if note.get("format_version") != FORMAT_VERSION:
                log.info("the index is of another release; building it anew")
                return None
            opened = {ending: (folder / f"{name}.{ending}").open("rb") for ending in endings}
            if all(
                digests.get(f"{name}.{ending}") == note["files"][ending]["sha256"]
                and chunk_digests(file) == note["files"][ending]["chunks"]
                for ending, file in opened.items()
            ):
                return Part(note, opened)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # JSON of another shape
        pass
    for file in opened.values():
        file.close()
    if locks.is_unfinished(gallery.path / INDEX_LOCK):
        log.info("the index was not yet saved as a whole; building it anew")
    else:
        log.warning("the index file is damaged; building it anew")
    return None


def chunk_digests(file: BufferedReader) -> list[str]:
    """Return the SHA-256 of each chunk of an open file, computed on all processors. Raises OSError.

    One digest of a large file takes one processor longer than anything else that opening an index does.
    """

    def digest(start: int) -> str:
        hashed = sha256()
        for at in range(start, start + _CHUNK, _READ):
            hashed.update(os.pread(file.fileno(), _READ, at))
        return hashed.hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(digest, range(0, os.fstat(file.fileno()).st_size, _CHUNK)))


def save(
    gallery: Gallery,
    name: str,
    note: Mapping[str, Any],
    files: Mapping[str, Write],
    beside: Mapping[str, Mapping[str, Any]] | None = None,
) -> Part | None:
    """Write a part, then the list that vouches for it; return it, or None if it cannot be saved.

    beside: the other parts that stay, with the notes that they must have; all else in the folder goes. If one
    of them is no longer there as it must be, nothing is written; without any, if the gallery has changed.
    """
    folder = gallery.path / INDEX
    beside = beside or {}
    try:
        folder.mkdir(exist_ok=True)
        with locks.exclusive(gallery.path / INDEX_LOCK) as hold:
            # What was deleted since must not come back to the disk; `GalleryWriter.purge` waits for the lock,
            # and takes all parts away.
            if beside:
                may_write = all(note_of(gallery, other) == its for other, its in beside.items())
            else:
                may_write = gallery.is_newest
            part = _written(folder, name, note, files, beside) if may_write else None
            hold.finish()
            return part
    except locks.Held:
        log.info("another process is saving the index")
    except (OSError, RuntimeError) as error:
        log.info("the index is kept in memory, for it cannot be saved: %s", error)
        for ending in files:
            with suppress(OSError):
                (folder / f"{name}.{ending}{UNFINISHED}").unlink()
    return None


def _written(
    folder: Path, name: str, note: Mapping[str, Any], files: Mapping[str, Write], beside: Mapping[str, Any]
) -> Part:
    stays = {name, *beside}
    own = (FILES, Path(INDEX_LOCK).name)
    goes = [found for found in os.listdir(folder) if found.split(".")[0] not in stays and found not in own]
    remove_all(folder, goes)
    kept = {}
    with suppress(FileNotFoundError):
        listed = checksums.read_list(folder).digests
        kept = {file: listed[file] for file in listed if file.split(".")[0] in beside}
    opened = {}
    told = {}
    for ending, write in files.items():
        unfinished = folder / f"{name}.{ending}{UNFINISHED}"
        write(unfinished)
        opened[ending] = unfinished.open("rb")
        unfinished.replace(folder / f"{name}.{ending}")
        kept |= checksums.digests_of(folder, [f"{name}.{ending}"])
        told[ending] = {"sha256": kept[f"{name}.{ending}"], "chunks": chunk_digests(opened[ending])}
    note = {"format_version": FORMAT_VERSION, **note, "files": told}
    write_file(folder / f"{name}.json", json.dumps(note, indent=2).encode())
    checksums.write_list(folder, kept | checksums.digests_of(folder, [f"{name}.json"]))
    return Part(note, opened)


def note_of(gallery: Gallery, name: str) -> Any:
    """Return what the note of a part says, unchecked; None if there is none."""
    try:
        return json.loads((gallery.path / INDEX / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return None
