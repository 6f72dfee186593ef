"""Two ways from files to embeddings, each in a process of its own: what `benchmarks.index` compares.

    python -m benchmarks.index_ways serial ARCHIVE
    python -m benchmarks.index_ways ours GALLERY ARCHIVE

Both load the encoder before the clock starts and print one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRESS_EVERY_S = 0.25


def serial(archive: Path) -> dict[str, Any]:
    """Embed the pictures one at a time, as the notebook that Google publishes with the model does."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    from medsiglip_search.encoders import DEMO_FOLDER

    processor = AutoImageProcessor.from_pretrained(DEMO_FOLDER)
    model = AutoModel.from_pretrained(DEMO_FOLDER, dtype=torch.float32).eval()
    files = sorted(path for path in archive.rglob("*") if path.is_file())
    embeddings = []
    started = time.perf_counter()
    for file in files:
        image = Image.open(file).convert("RGB")
        inputs = processor(images=image, return_tensors="pt")
        with torch.no_grad():
            embeddings.append(model.get_image_features(**inputs).pooler_output[0].numpy())
    seconds = time.perf_counter() - started
    assert np.isfinite(embeddings).all()
    return {"images": len(embeddings), "seconds": seconds}


def ours(path: Path, archive: Path) -> dict[str, Any]:
    """Index the archive into the gallery at `path`, a new one if there is none.

    writing_s: what the commits took, beside other work or not.
    progress: times and files done, the first at the start and the last at the end.
    """
    from indexer.pipeline import index_archives
    from medsiglip_search.encoders import load_encoder
    from medsiglip_search.gallery import Gallery
    from medsiglip_search.records import GalleryMeta

    encoder = load_encoder("demo")
    if not Gallery.exists(path):
        name, revision, digest = encoder.name, encoder.revision, encoder.weights_digest
        Gallery.create(path, GalleryMeta(name, revision, digest, encoder.dim, encoder.spec))
    gallery = Gallery.open(path)
    done = [(time.monotonic(), 0)]

    def show(progress: Any) -> None:
        now = time.monotonic()
        if now - done[-1][0] >= PROGRESS_EVERY_S:
            done.append((now, progress.files))

    with _writing_timed() as spent:
        report = index_archives(gallery, [str(archive)], encoder, progress=show)
    files = report.embedded + report.unchanged
    done.append((time.monotonic(), files))
    seconds = done[-1][0] - done[0][0]
    return {"images": files, "seconds": seconds, "writing_s": sum(spent), "progress": done}


@contextmanager
def _writing_timed() -> Iterator[list[float]]:
    """Yield a list to which every commit adds the seconds that it took."""
    from medsiglip_search.gallery import GalleryWriter

    spent: list[float] = []
    commit = GalleryWriter.commit

    def timed(self: GalleryWriter, *arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return commit(self, *arguments)
        finally:
            spent.append(time.perf_counter() - started)

    GalleryWriter.commit = timed  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        GalleryWriter.commit = commit  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=["serial", "ours"])
    parser.add_argument("paths", nargs="+", type=Path)
    options = parser.parse_args()
    ways = {"serial": serial, "ours": ours}
    json.dump(ways[options.way](*options.paths), sys.stdout)
    print()


if __name__ == "__main__":
    main()
