"""The archives and galleries that `benchmarks.index` measures on; the same ones each time."""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.sources import open_source
from medsiglip_search.demo.archive import write_archive
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import Attributes, GalleryMeta, Instance, PreprocessSpec

COMMIT_ROWS = 512
FILES_A_FOLDER = 1000
PICTURES = (".png", ".jpg", ".jpeg")
MODALITIES = ("CR", "CT", "MR", "OP", "SM")
YEARS = range(2010, 2026)


def demo_pictures(folder: Path, images: int) -> Path:
    """Draw a demo archive of so many images and keep what Pillow opens: its PNG and JPEG files."""
    write_archive(folder / "drawn", 0, images)
    return only_pictures(folder / "drawn", folder / "demo")


def only_pictures(archive: Path, to: Path) -> Path:
    """Copy the whole PNG and JPEG files of an archive into one folder; returns it."""
    to.mkdir()
    for number, path in enumerate(sorted(archive.rglob("*"))):
        if path.suffix.lower() in PICTURES and _opens(path):
            shutil.copy(path, to / f"{number:06d}{path.suffix.lower()}")
    return to


def _opens(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            low, high = image.convert("L").getextrema()
    except OSError:
        return False
    return low != high  # a picture of one value is rejected as blank


def small_pictures(folder: Path, count: int, side: int = 128) -> Path:
    """Write so many JPEG files of side x side pixels, soft noise, all different, a thousand to a folder."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"{number // FILES_A_FOLDER:04d}"
        place.mkdir(parents=True, exist_ok=True)
        grains = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        grains.resize((side, side)).save(place / f"{number:07d}.jpg", quality=80)
    return folder


def indexed_before(path: Path, archive: Path, meta: GalleryMeta) -> Gallery:
    """Return a gallery that knows each file of `archive` as it is, with an embedding out of thin air."""
    entries = open_source(str(archive)).entries()
    instances = (
        Instance(
            0, entry.archive, entry.uri, 0, "ab" * 32, f"{number:064x}", entry.size, entry.mtime_ns, 8, 8
        )
        for number, entry in enumerate(entries)
    )
    return _filled(path, meta, instances)


def large_gallery(path: Path, rows: int, dim: int) -> Gallery:
    """Return a gallery of so many rows with generated embeddings and metadata, and without thumbnails."""
    meta = GalleryMeta("generated", "1", "ab" * 32, dim, PreprocessSpec())
    return _filled(path, meta, islice(generated(), rows))


def generated() -> Iterator[Instance]:
    """Yield images of patients with two studies of four images each, for ever."""
    rng = np.random.default_rng(1)
    number = 0
    while True:
        source, pixels = rng.bytes(32).hex(), rng.bytes(32).hex()
        patient, study = f"{number // 8:016x}", f"{number // 4:016x}"
        attributes = Attributes(
            modality=MODALITIES[int(rng.integers(len(MODALITIES)))],
            year=int(rng.choice(YEARS)),
            patient=patient,
            study=study,
        )
        uri = f"P{number // 8:07d}/S{number // 4:07d}/IM{number:08d}.dcm"
        yield Instance(
            0, "/archive", uri, 0, source, pixels, 500_000 + number, 10**18 + number, 512, 512, attributes
        )
        number += 1


def _filled(path: Path, meta: GalleryMeta, instances: Iterator[Instance]) -> Gallery:
    rng = np.random.default_rng(2)
    gallery = Gallery.create(path, meta)
    with gallery.writer() as writer:
        while batch := list(islice(instances, COMMIT_ROWS)):
            embeddings = rng.standard_normal((len(batch), meta.dim), np.float32)
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
            writer.commit(batch, [b""] * len(batch), embeddings, ())
    return gallery
