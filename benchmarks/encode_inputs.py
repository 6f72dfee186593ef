"""What `benchmarks.encode` measures with: a checkpoint, and pictures drawn for the run."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from indexer.reading import Frame, Job, read_files
from indexer.sources import Entry, open_source
from medsiglip_search.encoders.image_towers import LARGE, is_slow
from medsiglip_search.encoders.siglip import SiglipEncoder, load_siglip
from medsiglip_search.encoders.siglip.checkpoint import SiglipCheckpoint
from medsiglip_search.images.guard import Guard
from medsiglip_search.records import PreprocessSpec

MOST_PIXELS = 2_000_000
SIDES = (600, 1800)


@dataclass(frozen=True, slots=True)
class Task:
    """What is measured.

    scratch: a folder for what is made. archive: JPEG files; few: those of them whose pictures are `pictures`.
    pictures, sample: (size, size, 3) uint8, fitted. rounds: in which what is compared is done in turn.
    precisions: in which ours are measured. timm: whether the compiled peer is.
    """

    scratch: Path
    checkpoint: SiglipCheckpoint
    device: torch.device
    archive: Path
    few: Path
    pictures: Sequence[np.ndarray]
    sample: Sequence[np.ndarray]
    rounds: int
    precisions: Sequence[str]
    timm: bool

    @property
    def is_large(self) -> bool:
        """Whether the model is so large that bounds on speed say something."""
        return self.checkpoint.weights.parameters >= LARGE

    @property
    def is_slow(self) -> bool:
        """Whether each picture takes long on this device."""
        return is_slow(self.device, self.checkpoint.weights.parameters)

    def load(self, precision: str) -> SiglipEncoder:
        """Return our encoder. Raises EncoderUnavailable."""
        return load_siglip(
            self.checkpoint.folder,
            name=str(self.checkpoint.folder),
            revision="local",
            device=str(self.device),
            precision=precision,
            sample=lambda _: self.sample,
        )

    def bound(self, at_least: float | None) -> float | None:
        """Return a bound on speed if this model is large enough for it."""
        return at_least if self.is_large else None


def flops(vision: Any) -> int:
    """Return the operations of a SigLIP vision tower for one picture; to multiply and add is two."""
    tokens, dim, inner = tokens_of(vision), vision.hidden_size, vision.intermediate_size
    layer = 8 * tokens * dim**2 + 4 * tokens**2 * dim + 4 * tokens * dim * inner
    patches = 2 * tokens * vision.num_channels * vision.patch_size**2 * dim
    # The head asks one question: of the products only keys and values are as many as the tokens.
    head = 4 * tokens * dim**2 + 4 * dim**2 + 4 * tokens * dim + 4 * dim * inner
    return vision.num_hidden_layers * layer + patches + head


def tokens_of(vision: Any) -> int:
    """Return how many patches a picture is cut into."""
    return (vision.image_size // vision.patch_size) ** 2


def draw_archive(folder: Path, count: int) -> Path:
    """Write so many JPEG files of smooth pictures, of at most `MOST_PIXELS` each; return the folder."""
    folder.mkdir()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda number: _draw(folder / f"{number:05}.jpg", number), range(count)))
    return folder


def _draw(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = (int(side) for side in rng.integers(*SIDES, 2))
    shrink = min(1.0, (MOST_PIXELS / (rows * columns)) ** 0.5)
    shape = (int(columns * shrink), int(rows * shrink))
    coarse = rng.integers(0, 256, (*rng.integers(3, 24, 2), 3), dtype=np.uint8)
    # Every second in grey, as radiographs are.
    picture = Image.fromarray(coarse if seed % 2 else coarse[..., 0])
    picture.resize(shape, Image.Resampling.BICUBIC).save(path, quality=92)


def first_files(archive: Path, count: int, folder: Path) -> Path:
    """Return a folder with the archive's first files alone."""
    folder.mkdir()
    for path in sorted(archive.iterdir())[:count]:
        os.link(path, folder / path.name)
    return folder


def entries(archive: Path, count: int | None = None) -> list[Entry]:
    """Return the archive's first files, all by default."""
    return list(islice(open_source(str(archive)).entries(), count))


def read(files: Sequence[Entry], spec: PreprocessSpec, guard: Guard) -> list[np.ndarray]:
    """Return the pictures of these files, (size, size, 3) uint8, fitted: as indexing reads them."""
    pieces = read_files([Job(entry) for entry in files], 1, spec, guard)
    found = [piece.pixels for piece in pieces if isinstance(piece, Frame)]
    if len(found) != len(files):
        raise SystemExit(f"{len(files) - len(found)} of {len(files)} drawn files could not be read")
    return found
