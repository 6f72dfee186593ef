"""A few pictures of archives, read as indexing will read them."""

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np

from indexer.pipeline import open_inputs
from indexer.reading import Frame, Job, read_files
from indexer.sidecar import is_table
from indexer.sources import Entry, Source
from medsiglip_search.images.guard import Guard, Limits
from medsiglip_search.records import PreprocessSpec

MOST_LISTED = 20_000
"""Files among which the pictures are chosen: to list a large archive can take longer than all the rest."""

SPARE = 4
"""Files chosen for each picture wanted: many may be no pictures, or unreadable."""


def sample_pictures(
    archives: Sequence[str],
    spec: PreprocessSpec,
    count: int,
    *,
    workers: int | None = None,
    limits: Limits = Limits(),
    gallery: Path | None = None,
) -> list[np.ndarray]:
    """Return at most `count` pictures of files chosen at random: (size, size, 3) uint8, fitted as in `spec`.

    Among the first `MOST_LISTED` of each archive, the same ones each time; of each file one frame. What
    cannot be read is left out, and a gallery that lies in an archive.
    Raises ArchiveNotFound, DecoderUnavailable.
    """
    sources, _ = open_inputs(archives, None, gallery)
    listed = [entry for source in sources for entry in islice(_files(source), MOST_LISTED)]
    chosen = random.Random(0).sample(listed, min(len(listed), SPARE * count))
    with Guard(workers, limits) as guard, closing(read_files(map(Job, chosen), 1, spec, guard)) as pieces:
        return list(islice((piece.pixels for piece in pieces if isinstance(piece, Frame)), count))


def _files(source: Source) -> Iterator[Entry]:
    return (entry for entry in source.entries() if entry.problem is None and not is_table(entry))
