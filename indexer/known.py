"""What a gallery holds already, found by pixels and by SOP instance."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from indexer.sources import Key
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import Instance


class KnownFrames:
    """The frames of a gallery by the hashes of what they hold: 28 bytes for each, whatever its row holds.

    What is found by a hash is compared with the row itself before it is answered.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    @cached_property
    def _parts(self) -> "list[_Part]":
        """What the gallery holds, read when first asked for: a run without new pictures need not wait."""
        hashed = [
            (np.array(ids, np.int64), _hashed(digests), _hashed(zip(instances, frames, strict=True)))
            for ids, digests, instances, frames in self._gallery.cell_batches(
                "image_id", "pixel_digest", "instance", "frame"
            )
        ]
        return [_Part.of(*map(np.concatenate, zip(*hashed, strict=True)))] if hashed else []

    def add(self, instances: Sequence[Instance], image_ids: np.ndarray) -> None:
        """Know of `instances` as well, which the gallery has just stored under `image_ids`."""
        if not instances:
            return
        part = _Part.of(
            image_ids,
            _hashed(one.pixel_digest for one in instances),
            _hashed(map(_sop_frame, instances)),
        )
        # Each part is more than twice the next one: few to look into, and no row is sorted often.
        while self._parts and len(self._parts[-1].ids) <= 2 * len(part.ids):
            part = self._parts.pop().with_part(part)
        self._parts.append(part)

    def follow(self, gallery: Gallery) -> None:
        """Look from now on into this later version of the gallery, all of whose new rows were added."""
        self._gallery = gallery

    def embeddings(self, pixel_digests: Iterable[str]) -> dict[str, np.ndarray]:
        """Return for those pictures that the gallery holds their embeddings, (D,) float32, by digest."""
        image_ids: list[int] = []
        for digest in pixel_digests:
            found = np.concatenate([part.of_pixels(hash(digest)) for part in self._parts] or [_NONE])
            image_ids += self._standing(found)[:1]
        if not image_ids:
            return {}
        stored = self._gallery.instances(image_ids)
        embeddings = self._gallery.embeddings_of(image_ids)
        return {one.pixel_digest: row for one, row in zip(stored, embeddings, strict=True)}

    def contradicting(self, instance: Instance) -> list[Instance]:
        """Return the rows that show other pixels as the same frame of the same SOP instance."""
        sop_frame, pixels = hash(_sop_frame(instance)), hash(instance.pixel_digest)
        found = np.concatenate([part.of_other_pixels(sop_frame, pixels) for part in self._parts] or [_NONE])
        standing = self._standing(found)
        rows = self._gallery.instances(standing) if standing else []
        return [row for row in rows if _sop_frame(row) == _sop_frame(instance)]

    def _standing(self, image_ids: np.ndarray) -> list[int]:
        """Return those of `image_ids` whose rows no commit has replaced, ascending."""
        if not len(image_ids):
            return []
        stored = self._gallery.select(None)
        image_ids = np.sort(image_ids)
        places = np.searchsorted(stored, image_ids)
        inside = places < len(stored)
        standing = image_ids[inside]
        return standing[stored[places[inside]] == standing].tolist()


class Claims:
    """Which pixels each SOP instance has, in the gallery and in the files of one commit in their order."""

    def __init__(self, known: KnownFrames, is_gone: Callable[[Key], bool]) -> None:
        """is_gone: tells of a file of the gallery whether its archive holds it no more; it does not count."""
        self._known = known
        self._is_gone = is_gone
        self._claimed: dict[tuple[str | None, int], Instance] = {}
        self._replaced: set[Key] = set()

    def claim(self, file: Key, frames: Sequence[Instance]) -> Instance | None:
        """Add the next file, or return the frame that came first and has other pixels than one of its own.

        What the gallery holds of the files that were added is about to be replaced and counts no more.
        """
        self._replaced.add(file)
        for frame in frames:
            if first := self._contradicting(frame):
                return first
        self._claimed.update((_sop_frame(frame), frame) for frame in frames)
        return None

    def _contradicting(self, frame: Instance) -> Instance | None:
        claimed = self._claimed.get(_sop_frame(frame))
        if claimed is not None and claimed.pixel_digest != frame.pixel_digest:
            return claimed
        return next((row for row in self._known.contradicting(frame) if self._counts(row)), None)

    def _counts(self, row: Instance) -> bool:
        file = row.archive, row.uri
        return file not in self._replaced and not self._is_gone(file)


_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows, in the order of the hashes of their pixels.

    ids, pixels: image_ids and hashes of pixel_digests, (N,) int64.
    sop_frames: hashes of instance and frame, (N,) int64 ascending; rows: the row of each, (N,) uint32.
    """

    ids: np.ndarray
    pixels: np.ndarray
    sop_frames: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, ids: np.ndarray, pixels: np.ndarray, sop_frames: np.ndarray) -> "_Part":
        order = np.argsort(pixels, kind="stable")
        ids, pixels, sop_frames = ids[order], pixels[order], sop_frames[order]
        order = np.argsort(sop_frames, kind="stable")
        return cls(ids, pixels, sop_frames[order], order.astype(np.uint32))

    def with_part(self, later: "_Part") -> "_Part":
        columns = zip(self._columns(), later._columns(), strict=True)
        return _Part.of(*map(np.concatenate, columns))

    def of_pixels(self, hashed: int) -> np.ndarray:
        """Return the image_ids of the rows whose pixels have this hash."""
        return self.ids[_equal(self.pixels, hashed)]

    def of_other_pixels(self, sop_frame: int, pixels: int) -> np.ndarray:
        """Return the image_ids of the rows with this hash of instance and frame and another of the pixels."""
        rows = self.rows[_equal(self.sop_frames, sop_frame)]
        return self.ids[rows[self.pixels[rows] != pixels]]

    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sop_frames = np.empty_like(self.sop_frames)
        sop_frames[self.rows] = self.sop_frames
        return self.ids, self.pixels, sop_frames


def _sop_frame(instance: Instance) -> tuple[str | None, int]:
    return instance.attributes.instance, instance.frame


def _hashed(values: Iterable[object]) -> np.ndarray:
    return np.fromiter(map(hash, values), np.int64)


def _equal(ascending: np.ndarray, value: int) -> slice:
    """Return where `value` stands in `ascending`."""
    return slice(np.searchsorted(ascending, value, "left"), np.searchsorted(ascending, value, "right"))
