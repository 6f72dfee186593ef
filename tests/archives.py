"""Small archives, an encoder to index them with, and what the gallery then holds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer import pipeline
from indexer.pipeline import IndexReport
from indexer.reading import Job
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import GalleryMeta, Identifiers, PreprocessSpec

UNFIT = (255, 0, 255)
"""The colour of pictures that the encoder below has no embedding for."""


@dataclass
class ColourEncoder:
    """Embeds a picture as the direction of its mean colour; remembers how many it was given at once."""

    name: str = "colour"
    revision: str = "1"
    weights_digest: str = "ab" * 32
    dim: int = 3
    spec: PreprocessSpec = PreprocessSpec(size=4, fit="stretch")
    batch_size: int = 4
    scale: float = 10.0
    bias: float = -10.0
    calls: list[int] = field(default_factory=list)
    before_call: Callable[[int], None] = lambda number: None

    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.calls.append(len(images))
        self.before_call(len(self.calls))
        means = np.array([image.mean(axis=(0, 1)) for image in images], np.float32)
        if any(image[0, 0].tolist() == list(UNFIT) for image in images):
            raise Unreadable(Reason.MALFORMED, "its embedding is not finite")
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError


def colour_picture(colour: tuple[int, int, int]) -> Image.Image:
    pixels = np.full((6, 8, 3), colour, np.uint8)
    pixels[3, 4] = 0  # a picture of one value is rejected as blank
    return Image.fromarray(pixels)


def save(path: Path, colour: tuple[int, int, int] = (200, 100, 50)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour_picture(colour).save(path)
    return path


def save_pages(path: Path, colours: Sequence[tuple[int, int, int] | None]) -> Path:
    """Write a TIFF of several pages; None is a blank one."""
    pages = [colour_picture(colour) if colour else Image.new("RGB", (8, 6)) for colour in colours]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def colours(count: int) -> Iterator[tuple[int, int, int]]:
    for number in range(count):
        yield 255 - 9 * number, 9 * number, 40


def make_gallery(path: Path, encoder: ColourEncoder, identifiers: Identifiers = "pseudonym") -> Gallery:
    name, revision, digest = encoder.name, encoder.revision, encoder.weights_digest
    meta = GalleryMeta(name, revision, digest, encoder.dim, encoder.spec, identifiers)
    return Gallery.create(path, meta)


def images(gallery: Gallery) -> dict[tuple[str, int], list[float]]:
    """Return what is stored: by uri and frame, the embedding."""
    ids, embeddings = gallery.embeddings()
    instances = gallery.instances(ids)
    stored = {(one.uri, one.frame): row.tolist() for one, row in zip(instances, embeddings, strict=True)}
    assert len(stored) == len(instances)
    return stored


def rejected(gallery: Gallery) -> dict[tuple[str, int | None], str]:
    rows = gallery.rejected()
    stored = {(one.uri, one.frame): one.reason.value for one in rows}
    assert len(stored) == len(rows)
    return stored


def counts(report: IndexReport) -> dict[str, object]:
    return {
        "embedded": report.embedded,
        "unchanged": report.unchanged,
        "replaced": report.replaced,
        "rejected": report.rejected,
    }


@contextmanager
def after_listing(happens: Callable[[], object]) -> Iterator[None]:
    """Let something happen when all files have been listed and compared, and before the first is read."""
    read_files = pipeline.read_files

    def struck(jobs: Iterable[Job], *arguments: Any) -> Any:
        jobs = list(jobs)
        happens()
        return read_files(jobs, *arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline, "read_files", struck)
        yield
