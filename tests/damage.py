"""Damages a gallery, one file at a time, and looks whether that is noticed: `python tests/damage.py`.

One bit is flipped, or a file is cut short, anywhere in the folder: each kind of file in turn. `verify` must
notice always. A search must give the right result or an error of ours, never a wrong result; only rows of a
damaged table, which nothing but `verify` looks at as a whole, may differ.
"""

import argparse
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

import numpy as np
from galleries import ARCHIVE, instance, meta, rejected, unit

from medsiglip_search.errors import MedSiglipSearchError
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_folder import TABLES
from medsiglip_search.index import open_index
from medsiglip_search.records import Run
from medsiglip_search.verify import verify

DIM = 2
QUERIES = unit([[1, 0.2], [-1, 3], [0.1, -1]])
TOP_K = 10


class Unnoticed(AssertionError):
    """Damage that nobody told of."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One bit flipped, or the file cut to `length` bytes."""

    file: str
    bit: int | None = None
    length: int | None = None

    def done(self, content: bytes) -> bytes:
        """Return what the file holds then."""
        if self.bit is None:
            return content[: self.length]
        flipped = bytearray(content)
        flipped[self.bit // 8] ^= 1 << self.bit % 8
        return bytes(flipped)


@dataclass
class Report:
    """By kind of file: how many cases, and what a search then did."""

    cases: Counter[str] = field(default_factory=Counter)
    searches: Counter[tuple[str, str]] = field(default_factory=Counter)

    def table(self) -> str:
        outcomes = ("right", "refused", "differs")
        rows = [f"{'damaged':52}{'cases':>7}{'noticed':>9}" + "".join(f"{name:>9}" for name in outcomes)]
        for kind, count in sorted(self.cases.items()):
            cells = "".join(f"{self.searches[kind, outcome] or '':>9}" for outcome in outcomes)
            rows.append(f"{kind:52}{count:7}{count:9}{cells}")
        return "\n".join(rows)


def gallery_with_all_files(path: Path) -> Gallery:
    """Make a gallery that has files of every kind: data, deletions, old versions, runs and an index."""
    gallery = Gallery.create(path, meta(DIM))
    rng = np.random.default_rng(0)
    with gallery.writer() as writer:
        run = Run(
            "2026-01-01T00:00:00+00:00", None, "running", (ARCHIVE,), 0, 0, 0, 0, {}, 0.0, 0.0, (1, 1), {}
        )
        writer.record_run(run)
        for start in range(0, 60, 12):
            instances = [
                instance(f"{number}.png", modality="CT", year=2020) for number in range(start, start + 12)
            ]
            refused = [rejected(f"{number}.txt") for number in range(start, start + 3)]
            writer.commit(instances, [b"jpeg"] * 12, unit(rng.standard_normal((12, DIM))), refused)
        writer.delete("uri = '7.png'")
        writer.remove(ARCHIVE, ["8.png", "14.txt"])
        writer.touch({(ARCHIVE, "20.png"): (9, 9)})
        writer.compact(timedelta(hours=1))
        writer.delete("uri = '30.png'")
    open_index(gallery)
    return gallery


def kind_of(file: str, newest: Collection[str]) -> str:
    """Return what a file of the gallery is, without the numbers in its name; newest: manifests."""
    folder, _, name = file.rpartition("/")
    if file in newest:
        return f"{folder}, newest"
    return file if folder in ("", "index") or (name.endswith(".json") and folder != "runs") else folder


class Damages:
    """One gallery, damaged and mended again and again."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.report = Report()
        self._path = folder / "gallery"
        self._random = Random(seed)
        self._kinds: dict[str, list[str]] = defaultdict(list)
        gallery_with_all_files(self._path)
        files = sorted(path for path in self._path.rglob("*") if path.is_file() and path.stat().st_size)
        names = [path.relative_to(self._path).as_posix() for path in files]
        # Manifests are named so that the newest sorts first.
        newest = [min(name for name in names if name.startswith(f"{table}/_versions/")) for table in TABLES]
        for name in names:
            self._kinds[kind_of(name, newest)].append(name)
        sound = verify(self._path)
        if sound.problems or sound.notices:
            raise Unnoticed(f"verify finds in a sound gallery: {sound}")
        self._right = self._searched()

    def run(self, cases: int) -> Report:
        """Try so many cases, the kinds of files in turn. Raises Unnoticed."""
        kinds = sorted(self._kinds)
        for number in range(cases):
            kind = kinds[number % len(kinds)]
            self._try(kind, self._damage(self._random.choice(self._kinds[kind])))
        return self.report

    def _damage(self, file: str) -> Damage:
        size = (self._path / file).stat().st_size
        if self._random.random() < 0.5:
            return Damage(file, bit=self._random.randrange(8 * size))
        return Damage(file, length=self._random.randrange(size))

    def _try(self, kind: str, damage: Damage) -> None:
        with self._damaged(damage):
            self.report.cases[kind] += 1
            if not self._is_noticed():
                raise Unnoticed(f"verify finds nothing: {damage}")
            outcome = self._outcome()
            self.report.searches[kind, outcome] += 1
            if outcome == "differs" and kind.split("/")[0] == "index":
                raise Unnoticed(f"a wrong result: {damage}")

    @contextmanager
    def _damaged(self, damage: Damage) -> Iterator[None]:
        """Damage a file, and put all that a search may have written back as it was."""
        saved = {path: path.read_bytes() for path in self._path.glob("index/*")}
        path = self._path / damage.file
        saved[path] = path.read_bytes()
        path.write_bytes(damage.done(saved[path]))
        try:
            yield
        finally:
            for path, content in saved.items():
                path.write_bytes(content)

    def _is_noticed(self) -> bool:
        try:
            verification = verify(self._path)
        except MedSiglipSearchError:
            return True
        return bool(verification.problems)

    def _outcome(self) -> str:
        try:
            return "right" if self._searched() == self._right else "differs"
        except MedSiglipSearchError:
            return "refused"

    def _searched(self) -> list[tuple[str, float]]:
        gallery = Gallery.open(self._path)
        scores, ids = open_index(gallery).search(QUERIES, TOP_K)
        uris = [one.uri for one in gallery.instances(ids.ravel())]
        return list(zip(uris, scores.ravel().tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="how many cases")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Damages(Path(folder), options.seed).run(options.count)
    print(report.table())
    print(f"{options.count} of {options.count} noticed by verify; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
