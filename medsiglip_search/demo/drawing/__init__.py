"""Drawn pictures of five modalities, each with the findings asked for."""

from collections.abc import Callable, Sequence

import numpy as np

from medsiglip_search.demo.drawing import chest, dermoscopy, fundus, head_ct, histology
from medsiglip_search.demo.drawing.canvas import Box, Rng
from medsiglip_search.demo.findings import Sign

DRAW: dict[str, Callable[[Rng, Rng, Sequence[Sign]], tuple[np.ndarray, list[Box | None]]]] = {
    "CR": chest.draw,
    "CT": head_ct.draw,
    "OP": fundus.draw,
    "DMS": dermoscopy.draw,
    "SM": histology.draw,
}
"""By modality: (anatomy, rng, signs) to values as the device gives them, and a box for each sign."""
