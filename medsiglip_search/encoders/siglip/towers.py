"""The two towers of a SigLIP checkpoint, and which way the image tower is run on this machine."""

import logging
import threading
from functools import cached_property

import torch

from medsiglip_search.encoders.calibration import Sample
from medsiglip_search.encoders.image_towers import (
    ImageTower,
    handed_over,
    is_slow,
    multiplied_together,
    openvino,
    openvino_library,
)
from medsiglip_search.encoders.image_towers.eager import TorchTower
from medsiglip_search.encoders.image_towers.gpu import gpu_tower
from medsiglip_search.encoders.image_towers.openvino_library import EXTRA, WHAT_IT_BRINGS
from medsiglip_search.encoders.precision import DTYPES, Computed, chosen
from medsiglip_search.encoders.siglip.checkpoint import SiglipCheckpoint
from medsiglip_search.encoders.siglip.text import SIZES, TextTower
from medsiglip_search.encoders.siglip.vision import VisionTower
from medsiglip_search.errors import EncoderUnavailable

log = logging.getLogger(__name__)


class SiglipTowers:
    """The towers of a checkpoint, each loaded when it is first asked for, by whichever thread.

    batch_size: pictures worth handing over at once. torch_together: those that torch multiplies at once.
    """

    def __init__(
        self,
        checkpoint: SiglipCheckpoint,
        device: torch.device,
        precision: Computed,
        sample: Sample | None = None,
    ) -> None:
        """Load nothing yet, but for a reduced precision, which has to prove itself.

        Raises EncoderUnavailable if it cannot.
        """
        parameters = checkpoint.weights.parameters
        self.batch_size = handed_over(device, parameters)
        self.torch_together = multiplied_together(device, parameters)
        self._is_slow = is_slow(device, parameters)
        self._checkpoint = checkpoint
        self._device = device
        self._precision = precision
        self._sample = sample
        self._full = precision if precision in DTYPES else chosen("auto", device, parameters)
        self._loading = threading.RLock()
        if precision not in DTYPES:
            self.images  # noqa: B018 - is loaded

    @property
    def images(self) -> ImageTower:
        """The image tower, the fastest way that this machine has. Raises EncoderUnavailable."""
        with self._loading:
            return self._images

    @property
    def vision(self) -> VisionTower:
        """The image tower as torch runs it. Raises EncoderUnavailable."""
        with self._loading:
            return self._vision

    @property
    def text(self) -> TextTower:
        """The text tower. Raises EncoderUnavailable."""
        with self._loading:
            return self._text

    @cached_property
    def _images(self) -> ImageTower:
        if self._device.type == "cuda":
            return gpu_tower(self._vision, self._precision, self._sample)
        if (self._precision == "int8" or self._is_slow) and (tower := self._by_openvino()) is not None:
            return tower
        return TorchTower(self._vision, self.torch_together)

    def _by_openvino(self) -> ImageTower | None:
        """Return the tower as OpenVINO runs it, None where torch must; raise EncoderUnavailable for int8."""
        if not openvino.is_for(self._precision):
            if not openvino_library.is_installed():
                log.warning("%s; to install it: %s", WHAT_IT_BRINGS, EXTRA)
            return None
        try:
            return openvino.load(self._checkpoint, self._precision, self._full, self._sample)
        except EncoderUnavailable as error:
            if self._precision == "int8":
                raise
            log.warning("%s; torch embeds the pictures instead", error)
            return None

    @cached_property
    def _vision(self) -> VisionTower:
        return VisionTower(
            self._checkpoint.load_vision(DTYPES[self._full], self._device), self._checkpoint.spec
        )

    @cached_property
    def _text(self) -> TextTower:
        model = self._checkpoint.load_text(DTYPES[self._full], self._device)
        return TextTower(model, SIZES if self._device.type == "cuda" else None)
