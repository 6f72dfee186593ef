"""Answers one question in a new process: `python -m benchmarks.search_start GALLERY QUERY.npy`.

It imports what a search takes and no more; how long it runs is measured from outside.
"""

import json
import sys
from typing import Any

import numpy as np

from medsiglip_search.records import PreprocessSpec
from medsiglip_search.search import Searcher


class Given:
    """An encoder that is at hand at once: every text is the same query."""

    name, revision, weights_digest = "generated", "1", "ab" * 32
    spec, batch_size, scale, bias = PreprocessSpec(), 1, 1.0, 0.0

    def __init__(self, query: np.ndarray) -> None:
        self.dim = len(query)
        self._query = query

    def with_spec(self, spec: PreprocessSpec) -> "Given":
        return self

    def embed_images(self, images: Any) -> np.ndarray:
        raise NotImplementedError

    def embed_texts(self, texts: Any) -> np.ndarray:
        return np.tile(self._query, (len(texts), 1))


if __name__ == "__main__":
    path, query = sys.argv[1:]
    hit = Searcher.open(path, Given(np.load(query))).search(text="any")[0]
    print(json.dumps({"image_id": hit.instance.image_id}))
