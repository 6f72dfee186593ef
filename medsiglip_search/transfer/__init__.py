"""Embeddings between galleries, and between a gallery and files that other programs read and write."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Is told how many rows of how many are done, and what was done to them."""


def silent(done: int, total: int, word: str) -> None:
    """Tell nobody."""
