"""A vision tower on a device of its own: static batches, and copies beside the computing."""

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medsiglip_search.encoders.fitting import check, fitted
from medsiglip_search.encoders.image_towers.attention import Attention
from medsiglip_search.encoders.image_towers.device_fitting import DeviceFitter, fits_on_device
from medsiglip_search.encoders.image_towers.prepared import Backend, Prepared, batches
from medsiglip_search.encoders.torch_calls import current, memory_error
from medsiglip_search.records import PreprocessSpec

if TYPE_CHECKING:
    from medsiglip_search.encoders.siglip.vision import VisionTower

SIZES = (1, 8, 32)
"""Pictures of a batch: that of a query, of a few, and enough to fill a GPU (32 are 31 TFLOP).

Larger ones would fill it no better, and of what is handed over together, nothing is computed until the first
batch has been copied: the smaller that is, the shorter this takes.
"""

PINNED_BYTES = 256 << 20
"""What pictures that are fitted on the device may take, on their way, of memory that cannot be swapped."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What a batch needs on its way; of two, one is filled while the device reads the other.

    levels: (size, rows, columns, 3) uint8, pinned. batch: the same on the device.
    copied: the batch is on the device. computed: the device has read it.
    """

    levels: torch.Tensor
    batch: torch.Tensor
    copied: Any
    computed: Any


class DeviceTower:
    """An `ImageTower` on any device, meant for GPUs. For any thread, one at a time.

    Batches are filled up to one of a few sizes, with whatever pictures were there before, for no row depends
    on another. Between sizes, rows differ in their last bits: few pictures are multiplied by other routines.

    Settings of torch stay as they are: who asks for fp32 gets no TF32, and bf16 needs none.

    batch_size: pictures of the largest batch: fewer once the device had not the memory for so many.
    """

    def __init__(
        self,
        tower: "VisionTower",
        *,
        sizes: Sequence[int] = SIZES,
        backend: Backend = None,
        attention: Attention | None = None,
        streams: Any = None,
    ) -> None:
        """tower: lies on its device already.

        backend: compiles large batches. attention: the kernel to prefer.
        streams: torch's module of the device; that of processors has streams and events that do nothing.
        """
        self._device = tower.model.device
        self._dim, self._side = tower.dim, tower.spec.size
        self._sizes = sorted(sizes)
        self.batch_size = self._sizes[-1]
        self._network = Prepared(tower, backend)
        self._attention = attention
        self._fitter = DeviceFitter(self._device)
        self._computing = threading.Lock()
        self._streams = streams or torch.get_device_module(self._device)
        self._pinned = self._device.type == "cuda"
        with current(self._device):
            self._copying = self._streams.Stream()
        self._slots: list[Slot] = []
        self._under_way = self.batch_size

    def pooled(self, images: Sequence[np.ndarray], spec: PreprocessSpec) -> np.ndarray:
        """See `ImageTower`. After a MemoryError, batches are smaller than that which it was raised for."""
        for image in images:
            check(image)
        with self._computing, current(self._device):
            try:
                with memory_error(), self._preferred():
                    return self._rows(images, spec)
            except MemoryError:
                # The smallest stays: there may be memory again when the next picture comes.
                self._sizes = [size for size in self._sizes if size < self._under_way] or self._sizes[:1]
                self.batch_size = self._sizes[-1]
                self._slots = []
                self._network.forget()
                raise

    @torch.inference_mode()
    def _rows(self, images: Sequence[np.ndarray], spec: PreprocessSpec) -> np.ndarray:
        start, self._under_way = 0, self.batch_size
        try:
            rows = torch.empty((len(images), self._dim), pin_memory=self._pinned)
            slots = self._two_slots()
            for turn, (count, size) in enumerate(batches(len(images), self._sizes)):
                self._under_way = size
                slot = slots[turn % 2]
                self._copy(images[start : start + count], slot, spec)
                # What follows is told to the device, which does it while the next batch is fitted and copied.
                computing = self._streams.current_stream(self._device)
                computing.wait_event(slot.copied)
                embeddings = self._network(slot.batch[:size])[:count]
                slot.computed.record(computing)
                rows[start : start + count].copy_(embeddings.float(), non_blocking=True)
                start += count
        finally:
            # Before rows are read; and what failed half-way must not go on reading what comes next.
            self._streams.synchronize(self._device)
        return rows.numpy().copy()  # who keeps them shall keep no pinned memory

    def _copy(self, images: Sequence[np.ndarray], slot: Slot, spec: PreprocessSpec) -> None:
        """Put pictures into a slot, fitted here or on the device."""
        slot.copied.synchronize()  # what was pinned here before has left
        levels = slot.levels.numpy()
        there = []
        for place, image in enumerate(images):
            if fits_on_device(image, spec):
                there.append(place)
            else:
                levels[place] = fitted(image, spec)
        with self._streams.stream(self._copying):
            self._copying.wait_event(slot.computed)
            if len(there) < len(images):
                slot.batch[: len(images)].copy_(slot.levels[: len(images)], non_blocking=True)
            pinned = 0
            for place in there:
                slot.batch[place].copy_(self._fitter.fitted(self._sent(images[place]), spec))
                pinned += images[place].nbytes
                if pinned > PINNED_BYTES:
                    slot.copied.record(self._copying)
                    slot.copied.synchronize()
                    pinned = 0
            slot.copied.record(self._copying)

    def _sent(self, image: np.ndarray) -> torch.Tensor:
        """Return a picture on the device, once it has been copied there."""
        pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=self._pinned)
        pinned.numpy()[...] = image
        return pinned.to(self._device, non_blocking=True)

    def _two_slots(self) -> list[Slot]:
        if not self._slots:
            shape = (self.batch_size, self._side, self._side, 3)
            self._slots = [
                Slot(
                    torch.empty(shape, dtype=torch.uint8, pin_memory=self._pinned),
                    torch.zeros(shape, dtype=torch.uint8, device=self._device),
                    self._streams.Event(),
                    self._streams.Event(),
                )
                for _ in range(2)
            ]
            self._streams.synchronize(self._device)  # zeros would follow what the other stream copies there
        return self._slots

    def _preferred(self) -> AbstractContextManager:
        return self._attention.preferred() if self._attention is not None else nullcontext()
