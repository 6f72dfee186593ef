"""The values that travel between the stages; all frozen.

Arrays are the one thing they hold that Python cannot freeze: whoever receives one does not write to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

import numpy as np

from medsiglip_search.errors import Reason
from medsiglip_search.windows import RenderSpec

FORMAT_VERSION = 2
"""Of a gallery's folder and columns; a gallery of another version is refused."""

Value = str | int | float | bool | None
"""What one cell of a metadata column holds."""

Fit = Literal["pad", "stretch", "crop"]
Resample = Literal["tf_bilinear", "bicubic", "bilinear"]


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """How a picture becomes the encoder's input; stored in the gallery and compared at every open.

    fit: "pad" adds zeros to a square, picture in the middle; "stretch" ignores the aspect; "crop"
        keeps the middle square.
    resample: "tf_bilinear" is TensorFlow's bilinear kernel without antialiasing; the others are Pillow's.
    mean, std: of pixels scaled to 0..1.
    rendering: how the picture was made of a file whose values are no colours.
    """

    size: int = 448
    fit: Fit = "pad"
    resample: Resample = "tf_bilinear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    rendering: RenderSpec = RenderSpec()


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is worth searching by; None where the file does not say.

    position_mm: how far the slice lies along its normal; what orders the slices of a series.
    `patient`, `study`, `series` and `instance` are the file's own identifiers in a `Picture`, and what the
    gallery makes of them (see `Identifiers`) from there on.
    """

    modality: str | None = None
    body_part: str | None = None
    laterality: str | None = None
    view_position: str | None = None
    manufacturer: str | None = None
    year: int | None = None
    position_mm: float | None = None
    patient: str | None = None
    study: str | None = None
    series: str | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded frame, counted from 0, of the `frame_count` that its file has.

    pixels: (rows, columns, 3) uint8 RGB, upright, as a reader would look at it.
    flags: what had to be assumed on the way, such as "window_fallback".
    """

    pixels: np.ndarray
    frame: int = 0
    attributes: Attributes = Attributes()
    flags: tuple[str, ...] = ()
    frame_count: int = 1


@dataclass(frozen=True, slots=True)
class Instance:
    """One embedded frame of the gallery, without its embedding and thumbnail.

    columns: what a sidecar table added (`report`, `findings`, anything).
    """

    image_id: int
    archive: str
    uri: str
    frame: int
    source_digest: str
    pixel_digest: str
    size: int
    mtime_ns: int
    rows: int
    columns: int
    attributes: Attributes = Attributes()
    flags: tuple[str, ...] = ()
    sidecar: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer to a query.

    score: cosine with the query, higher is closer.
    relevance: how far the score stands above this query's scores on a random sample of the gallery; 1 is by
        how much the scores of any direction spread there.
    rank: 1 is best.
    count: the images that the hit stands for: those with the same pixels, or those of its patient, study or
        series that stand out of the background.
    """

    instance: Instance
    score: float
    relevance: float
    rank: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class Result(Sequence[Hit]):
    """The answer to a query: its hits, best first, and what is to be said of them all.

    matches: whether the best of all hits stands out of what the query scores elsewhere in the gallery; where
        it does not, the gallery has probably nothing that answers. True with any hit where that cannot be
        told: in a gallery of a few images, and for a query that says only what must be absent.
    cursor: what the next page is asked for with; None after the last hit.
    notes: how the query was understood and what was left out.
    """

    hits: tuple[Hit, ...]
    matches: bool
    cursor: str | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file or frame without an embedding, and why. frame is None where the whole file is meant."""

    uri: str
    frame: int | None
    reason: Reason
    message: str


RunState = Literal["running", "done", "interrupted", "failed", "killed"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `index`, as the gallery keeps it.

    started, ended: ISO 8601, UTC; ended is None, and the counts are 0, while the run goes on, and for ever if
        it was killed.
    embedded, unchanged, replaced, removed, rejected, seconds, images_per_second: as the run reported them.
    gallery_versions: before and after. software: what ran, name to version.
    """

    started: str
    ended: str | None
    state: RunState
    archives: tuple[str, ...]
    embedded: int
    unchanged: int
    replaced: int
    removed: int
    rejected: Mapping[str, int]
    seconds: float
    images_per_second: float
    gallery_versions: tuple[int, int]
    software: Mapping[str, str]


Identifiers = Literal["pseudonym", "keep", "drop"]
"""What a gallery stores of patient, study, series and instance: keyed pseudonyms, the file's own, nothing."""


@dataclass(frozen=True, slots=True)
class GalleryMeta:
    """What gallery.json holds: one encoder, one preprocessing and one way with identifiers for all rows."""

    encoder: str
    revision: str
    weights_digest: str
    dim: int
    spec: PreprocessSpec
    identifiers: Identifiers = "pseudonym"
    format_version: int = FORMAT_VERSION
