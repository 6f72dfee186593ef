"""A vision tower on a GPU: the fastest kernels that it has, and 8-bit floats for who asks, behind a gate."""

import logging
from typing import TYPE_CHECKING

from medsiglip_search.encoders.calibration import FAITHFUL, Sample, drawn, least_cosine, unfaithful
from medsiglip_search.encoders.image_towers import ImageTower
from medsiglip_search.encoders.image_towers.attention import measured
from medsiglip_search.encoders.image_towers.device import DeviceTower
from medsiglip_search.encoders.image_towers.eager import TorchTower
from medsiglip_search.encoders.image_towers.fp8 import in_fp8
from medsiglip_search.encoders.image_towers.sharing import sharing_weights
from medsiglip_search.encoders.precision import Computed
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.transformers_notices import first_line

if TYPE_CHECKING:
    from medsiglip_search.encoders.siglip.vision import VisionTower

log = logging.getLogger(__name__)

COMPILED_FROM = 100_000_000
"""Parameters of a tower that is worth compiling; smaller ones are done before that would be."""


def gpu_tower(tower: "VisionTower", precision: Computed, sample: Sample | None) -> ImageTower:
    """Return the fastest way to run a tower that lies on a GPU.

    precision: "fp8" must prove itself on `sample`. Raises EncoderUnavailable where it cannot.
    """
    if precision != "fp8":
        return _on_device(tower)
    _, pictures = drawn(sample, tower.spec, precision)
    try:
        expected = TorchTower(tower, len(pictures)).pooled(pictures, tower.spec)
        reduced = _on_device(in_fp8(tower))
        # As many as make a whole batch, for those are run otherwise than few.
        places = [place % len(pictures) for place in range(max(len(pictures), reduced.batch_size))]
        rows = reduced.pooled([pictures[place] for place in places], tower.spec)
        cosine = least_cosine(rows, expected[places])
    except Exception as error:  # of torch, of a driver: each has its own way to say that it cannot
        raise EncoderUnavailable(
            f"precision fp8: cannot be computed here ({first_line(error)}); leave --precision out"
        ) from error
    if not cosine >= FAITHFUL:
        raise unfaithful(str(tower.model.name_or_path), "fp8", cosine)
    log.info("fp8: the least cosine of %d pictures with full precision is %.5f", len(pictures), cosine)
    return reduced


def _on_device(tower: "VisionTower") -> DeviceTower:
    kernel = tower.model.embeddings.patch_embedding.weight
    size = tower.dim // tower.heads
    attention = measured(tower.heads, tower.rows**2, size, kernel)
    if attention is not None and attention.head != size:
        tower = sharing_weights(tower)
        tower.fill_heads(attention.head)
    large = sum(one.numel() for one in tower.model.parameters()) >= COMPILED_FROM
    backend = "inductor" if large and kernel.is_cuda else None
    return DeviceTower(tower, backend=backend, attention=attention)
