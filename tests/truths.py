"""Truths made by hand, for the tests of evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medsiglip_search.truth import Truth


def truth(present: Any, labels: Sequence[str], patients: Any = None) -> Truth:
    """Return what is true of images 0, 1, ...; each of a patient of its own unless `patients` says whose."""
    present = np.asarray(present, np.int8)
    count = len(present)
    return Truth(
        path=Path("truth.csv"),
        digest="ef" * 32,
        image_ids=np.arange(count),
        labels=tuple(labels),
        present=present,
        patients=np.arange(count) if patients is None else np.asarray(patients),
    )
