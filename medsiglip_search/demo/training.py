"""What both trainings share: the learning rate, and the command."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

from transformers.utils import logging

Train = Callable[[int, int, int, int, Path], None]
"""Trains from a seed, for so many steps, on so many pictures, in batches of a size, into a folder."""


def rate(step: int, steps: int, warm_up: int) -> float:
    """Return the learning rate's factor: a linear rise, then a cosine down to 0."""
    progress = max(0, step - warm_up) / max(1, steps - warm_up)
    return min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * progress))


def run(
    train: Train, about: str | None, *, out: Path, seed: int, steps: int, pictures: int, batch_size: int
) -> None:
    """Train as the command line says; what is given here are the defaults."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--pictures", type=int, default=pictures)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    train(args.seed, args.steps, args.pictures, args.batch_size, args.out)
    print(f"wrote {args.out}", file=sys.stderr)
