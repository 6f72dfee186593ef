"""The process that is killed: `python tests/crash_child.py GALLERY LOG`.

It says "ready" when all is imported, reads one task as JSON from stdin, does it and says "done".
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from archives import ColourEncoder
from crash_log import GAP_S, Log, logged

from indexer import batch
from indexer.pipeline import index_archives
from medsiglip_search import gallery_writer
from medsiglip_search.gallery import Gallery, GalleryWriter
from medsiglip_search.index import open_index
from medsiglip_search.transfer.importing import import_embeddings

# Small, so that there are many commits, and the store tidies itself now and then.
COMMIT_ROWS = 4
TIDY_AFTER = 6


def index(path: Path, archive: str, prune: bool) -> None:
    index_archives(Gallery.open(path), [archive], ColourEncoder(), workers=1, prune=prune)


def delete(path: Path, where: str) -> None:
    with Gallery.open(path).writer() as writer:
        writer.delete(where)


def compact(path: Path, keep_s: float) -> None:
    with Gallery.open(path).writer() as writer:
        writer.compact(timedelta(seconds=keep_s))


def purge(path: Path, where: str) -> None:
    with Gallery.open(path).writer() as writer:
        writer.delete(where, for_good=True)
        writer.purge()


def import_(path: Path, file: str) -> None:
    import_embeddings(path, file)


def search(path: Path) -> None:
    open_index(Gallery.open(path))


TASKS: dict[str, Callable[..., None]] = {
    "index": index,
    "delete": delete,
    "compact": compact,
    "purge": purge,
    "import": import_,
    "search": search,
}


def old_rows_go_first() -> None:
    """Break the order of a commit: the old rows of a file are gone for a moment before the new ones come."""
    replace = GalleryWriter._replace

    def replace_in_two(
        self: GalleryWriter, files: set[tuple[str, str]], rows: Any, rejected: Sequence, stored: Any
    ) -> None:
        replace(self, files, rows.slice(0, 0), (), stored)
        time.sleep(GAP_S)
        replace(self, files, rows, rejected, stored)

    GalleryWriter._replace = replace_in_two  # type: ignore[method-assign]


def main() -> None:
    path, log, *broken = sys.argv[1:]
    batch.COMMIT_ROWS = COMMIT_ROWS
    gallery_writer._TIDY_AFTER = TIDY_AFTER
    if broken:
        old_rows_go_first()
    logged(Log(Path(log)))
    print("ready", flush=True)
    task = json.loads(sys.stdin.readline())
    TASKS[task.pop("task")](Path(path), **task)
    print("done", flush=True)


if __name__ == "__main__":
    main()
