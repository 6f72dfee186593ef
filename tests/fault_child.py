"""The command line with an encoder that needs no torch, and small commits.

    python tests/fault_child.py COMMAND ...

LOSE_PERMISSION in the environment names a folder that nothing can be written into after the first commit.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from archives import ColourEncoder

from indexer import batch
from medsiglip_search import cli, encoders, search
from medsiglip_search.gallery import GalleryWriter
from medsiglip_search.records import PreprocessSpec

COMMIT_ROWS = 4


@dataclass
class CommandEncoder(ColourEncoder):
    """A colour encoder with what the commands ask for beside."""

    def with_spec(self, spec: PreprocessSpec) -> Self:
        return replace(self, spec=spec)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.tile(np.float32([0, 0, 1]), (len(texts), 1))


def lose_permission(folder: str) -> None:
    """Have the first commit followed by what an administrator may do at any time."""
    commit = GalleryWriter.commit

    def commit_once(self: GalleryWriter, *arguments: Any) -> Any:
        image_ids = commit(self, *arguments)
        os.chmod(folder, 0o500)
        return image_ids

    GalleryWriter.commit = commit_once  # type: ignore[method-assign]


def main() -> None:
    encoders.load_encoder = search.load_encoder = lambda *_: CommandEncoder()  # type: ignore[assignment]
    batch.COMMIT_ROWS = COMMIT_ROWS
    if folder := os.environ.get("LOSE_PERMISSION"):
        lose_permission(folder)
    cli.main(sys.argv[1:])


if __name__ == "__main__":
    main()
