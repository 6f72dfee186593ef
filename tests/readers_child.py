"""A process that reads or writes a gallery of which every version can be told from every other.

    python tests/readers_child.py write|read GALLERY SECONDS

Each version of the gallery holds the same files. Their rows bear its mark, the year, and embeddings that are
drawn from it. What a reader finds must be what one version holds, in the table and in the index.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import numpy as np
from archives import ColourEncoder
from galleries import ARCHIVE, instance, meta, unit

from medsiglip_search.encoders import Encoder
from medsiglip_search.gallery import Gallery, GalleryWriter
from medsiglip_search.records import PreprocessSpec
from medsiglip_search.search import Searcher

FILES, DIM, TOP_K = 200, 32, 10
SEARCHES_A_VERSION = 4
COMPACT_EVERY = 10
# Longer than a reader stays on a version.
KEPT = timedelta(seconds=30)
PAUSE_S = 0.05


@dataclass
class MarkedEncoder(ColourEncoder):
    """Embeds text only, and any of it alike."""

    dim: int = DIM
    spec: PreprocessSpec = meta().spec

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        return np.tile(unit([np.arange(1, DIM + 1)]), (len(texts), 1))


class Mixed(AssertionError):
    """A reader found what no version holds."""


def make(path: Path) -> None:
    """Make the gallery in its first version."""
    with Gallery.create(path, replace(meta(), dim=DIM)).writer() as writer:
        write_version(writer, 1)


def write_version(writer: GalleryWriter, mark: int) -> None:
    instances = [instance(f"{number}.png", archive=ARCHIVE, year=mark) for number in range(FILES)]
    writer.commit(instances, [b"jpeg"] * FILES, embeddings_of(mark), ())


def embeddings_of(mark: int) -> np.ndarray:
    """Return the embeddings of a version, (FILES, DIM)."""
    return unit(np.random.default_rng(mark).standard_normal((FILES, DIM)))


def is_deleted(number: int, mark: int) -> bool:
    """Tell whether the file is taken out of this version after a while."""
    return number % 5 == mark % 5


def write(path: Path, seconds: float) -> dict[str, int]:
    """Write version after version, take files out, and compact."""
    until = time.monotonic() + seconds
    with Gallery.open(path).writer() as writer:
        for mark in count(2):
            write_version(writer, mark)
            time.sleep(PAUSE_S)
            deleted = [f"'{number}.png'" for number in range(FILES) if is_deleted(number, mark)]
            writer.delete(f"uri IN ({', '.join(deleted)})")
            time.sleep(PAUSE_S)
            if mark % COMPACT_EVERY == 0:
                writer.compact(KEPT)
            if time.monotonic() > until:
                return {"versions": mark}
    raise AssertionError  # `count` does not end


def read(path: Path, seconds: float) -> dict[str, object]:
    """Search, stay on each version for some searches, and check what comes.

    resident: bytes, one sample a second.
    """
    started = time.monotonic()
    resident: list[int] = []
    searches, versions = 0, set()
    while (now := time.monotonic() - started) < seconds:
        searcher = Searcher.open(path, MarkedEncoder())
        for _ in range(SEARCHES_A_VERSION):
            versions.add(check(searcher))
            searches += 1
        if now >= len(resident):
            resident.append(_resident_bytes())
    return {"searches": searches, "versions": len(versions), "resident": resident}


def check(searcher: Searcher) -> int:
    """Search, and return the mark of the version that was found. Raises Mixed."""
    gallery = searcher.gallery
    cells = [
        cell for years, uris in gallery.cell_batches("year", "uri") for cell in zip(years, uris, strict=True)
    ]
    marks = {year for year, _ in cells}
    if len(marks) != 1:
        raise Mixed(f"rows of the versions {marks}")
    [mark] = marks
    stored = [int(uri.removesuffix(".png")) for _, uri in cells]
    kept = [number for number in range(FILES) if not is_deleted(number, mark)]
    if sorted(stored) not in (kept, list(range(FILES))):
        raise Mixed(f"version {mark} with {len(stored)} files")
    hits = [int(hit.instance.uri.removesuffix(".png")) for hit in searcher.search("any", top_k=TOP_K)]
    if hits != best(mark, stored, searcher.encoder):
        raise Mixed(f"version {mark}: {hits}")
    return mark


def best(mark: int, numbers: list[int], encoder: Encoder) -> list[int]:
    """Return the files of a version that the query is closest to."""
    stored = embeddings_of(mark).astype(np.float16).astype(np.float64)[numbers]
    scores = stored @ encoder.embed_texts(["any"])[0].astype(np.float64)
    return [numbers[place] for place in np.argsort(-scores, kind="stable")[:TOP_K]]


def _resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


ROLES: dict[str, Callable[[Path, float], object]] = {"write": write, "read": read}

if __name__ == "__main__":
    role, folder, duration = sys.argv[1:]
    check(Searcher.open(folder, MarkedEncoder()))  # loads the libraries, which takes long beside others
    print("ready", flush=True)
    sys.stdin.readline()
    json.dump(ROLES[role](Path(folder), float(duration)), sys.stdout)
