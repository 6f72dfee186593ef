"""The embeddings of label sets' texts, kept beside a gallery: to label it again needs no encoder."""

import contextlib
import io
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

import numpy as np

from medsiglip_search import __version__
from medsiglip_search.encoders import Encoder
from medsiglip_search.files import write_file
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_folder import TEXTS

log = logging.getLogger(__name__)

MOST = 200
"""Label sets whose texts are kept; the one that was longest not asked for goes first."""


class TextEncoder(Protocol):
    """What a label set needs of an encoder."""

    @property
    def scale(self) -> float: ...

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) float32 text embeddings, each row of L2 norm 1."""
        ...


class KeptTexts:
    """A `TextEncoder` that remembers, beside a gallery, what it has been asked before.

    encoder: loads the gallery's; called for texts that were not asked before, and raises what it raises.
    """

    def __init__(self, gallery: Gallery, encoder: Callable[[], Encoder]) -> None:
        self._folder = gallery.path / TEXTS
        self._meta = gallery.meta
        self._encoder = encoder
        self._scale: float | None = None

    @property
    def scale(self) -> float:
        if self._scale is None:
            self._scale = self._encoder().scale
        return self._scale

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """See `TextEncoder`."""
        # Other weights, other texts or another version of this package have another name.
        told = repr((__version__, self._meta.weights_digest, list(texts))).encode()
        name = f"{sha256(told).hexdigest()}.npz"
        rows = self._read(name, len(texts))
        if rows is None:
            encoder = self._encoder()
            self._scale, rows = encoder.scale, encoder.embed_texts(texts)
            self._write(name, rows)
        return rows

    def _read(self, name: str, count: int) -> np.ndarray | None:
        """Return what is kept, None if it is not there or damaged."""
        path = self._folder / name
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
                rows, scale, checksum = kept["rows"], kept["scale"], str(kept["sha256"])
            if rows.shape != (count, self._meta.dim) or checksum != _checksum(rows, scale):
                raise ValueError
        except FileNotFoundError:
            return None
        except Exception:  # a damaged archive raises what zlib, zipfile and NumPy raise
            log.info("%s: not as it was written; its texts are embedded again", path)
            return None
        with contextlib.suppress(OSError):  # who may only read leaves its age as it is
            path.touch()
        self._scale = float(scale)
        return rows

    def _write(self, name: str, rows: np.ndarray) -> None:
        scale = np.float64(self._scale)
        content = io.BytesIO()
        np.savez(content, rows=rows, scale=scale, sha256=np.array(_checksum(rows, scale)))
        try:
            self._folder.mkdir(exist_ok=True)
            write_file(self._folder / name, content.getvalue())
            by_age = sorted(self._folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
            for oldest in by_age[:-MOST]:
                oldest.unlink(missing_ok=True)
        except OSError as error:  # who may only read asks the encoder each time
            log.info("%s: cannot be written (%s)", self._folder, error.strerror)


def _checksum(rows: np.ndarray, scale: np.ndarray | np.float64) -> str:
    return sha256(rows.tobytes() + np.float64(scale).tobytes()).hexdigest()
