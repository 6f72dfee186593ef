"""A vision tower that OpenVINO runs on the processor, as fast as a short measurement finds that it can."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medsiglip_search.encoders.calibration import FAITHFUL, Sample, drawn, least_cosine, unfaithful
from medsiglip_search.encoders.fitting import check, fitted
from medsiglip_search.encoders.image_towers.measuring import fastest
from medsiglip_search.encoders.image_towers.openvino_files import OpenVinoFiles
from medsiglip_search.encoders.image_towers.openvino_library import EXTRA, core, is_installed, openvino
from medsiglip_search.encoders.precision import Computed
from medsiglip_search.encoders.preprocess import stacked
from medsiglip_search.encoders.torch_calls import memory_error
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.files import write_file
from medsiglip_search.records import PreprocessSpec
from medsiglip_search.transformers_notices import first_line

if TYPE_CHECKING:
    from medsiglip_search.encoders.siglip.checkpoint import SiglipCheckpoint

log = logging.getLogger(__name__)

WORTH_MEASURING = 4
"""Pictures handed over together from which on the ways to compute are compared, once on each machine."""


@dataclass(frozen=True, slots=True)
class Way:
    """How pictures share the processor. together: pictures at the same time. batch: of each product."""

    together: int = 1
    batch: int = 1


class OpenVinoTower:
    """An `ImageTower` that OpenVINO runs. For any thread."""

    def __init__(self, model: Path, precision: Computed, dim: int) -> None:
        """model: the .xml file. precision: as which numbers it computes what is not in int8."""
        self._model = core().read_model(model)  # its files may be gone when it is compiled again
        self._precision = "f32" if precision == "fp32" or not multiplies_bf16() else "bf16"
        self._dim = dim
        self._computing = threading.Lock()
        self._choice = model.parent / f"way-{_machine()}.json"
        self._way = _read(self._choice)
        self._queue: Any = self._compiled(self._way or Way())

    def pooled(self, images: Sequence[np.ndarray], spec: PreprocessSpec) -> np.ndarray:
        """See `ImageTower`."""
        for image in images:
            check(image)
        with self._computing, memory_error():
            if self._way is None and len(images) >= WORTH_MEASURING:
                self._choose(images[:WORTH_MEASURING], spec)
            return self._rows(images, spec)

    def _rows(self, images: Sequence[np.ndarray], spec: PreprocessSpec) -> np.ndarray:
        rows = np.empty((len(images), self._dim), np.float32)

        def keep(request: Any, place: slice) -> None:
            rows[place] = request.get_output_tensor().data[: place.stop - place.start]

        if self._queue is None:  # the last attempt failed
            self._queue = self._compiled(self._way or Way())
        queue, batch = self._queue, (self._way or Way()).batch
        queue.set_callback(keep)
        try:
            for start in range(0, len(images), batch):
                # Fitted while the pictures before are computed.
                levels = np.stack([fitted(image, spec) for image in images[start : start + batch]])
                missing = batch - len(levels)
                filled = np.concatenate([levels, levels[-1:].repeat(missing, axis=0)]) if missing else levels
                queue.start_async({0: filled}, slice(start, start + len(levels)))
        finally:
            queue.wait_all()  # or the next call would find its requests busy
        return rows

    def _compiled(self, way: Way) -> Any:
        model = self._model.clone()
        model.reshape([way.batch, *list(model.input().partial_shape)[1:]])
        options = {"INFERENCE_PRECISION_HINT": self._precision, "NUM_STREAMS": str(way.together)}
        return openvino().AsyncInferQueue(core().compile_model(model, "CPU", options), way.together)

    def _choose(self, images: Sequence[np.ndarray], spec: PreprocessSpec) -> None:
        """Go on in the fastest way for these pictures, and note it for the next process."""
        best = fastest(_ways(), lambda way: self._measured(way, images, spec)) or Way()
        self._way, self._queue = best, None
        try:
            write_file(self._choice, json.dumps(asdict(best)).encode())
        except OSError:
            log.debug("%s: cannot be written; the next process measures again", self._choice)

    def _measured(self, way: Way, images: Sequence[np.ndarray], spec: PreprocessSpec) -> float:
        """Return how many seconds a picture takes in this way."""
        self._way, self._queue = way, None  # two at once would take twice the memory
        try:
            self._rows(images[: way.together * way.batch], spec)  # the first takes longer
            started = time.perf_counter()
            self._rows(images, spec)
            return (time.perf_counter() - started) / len(images)
        finally:
            self._way = self._queue = None


def _ways() -> list[Way]:
    processors = len(os.sched_getaffinity(0))
    return [Way(), Way(batch=2), *([Way(together=processors)] if processors > 1 else [])]


def _read(choice: Path) -> Way | None:
    """Return the way that an earlier process found the fastest, None if none did."""
    try:
        said = json.loads(choice.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return next((way for way in _ways() if asdict(way) == said and _are_whole(said.values())), None)


def _are_whole(numbers: Iterable[Any]) -> bool:
    return all(type(number) is int for number in numbers)  # 1.0 and true equal 1


def _machine() -> str:
    """Return what is the same on processors of one kind."""
    told = repr(sorted(torch.cpu.get_capabilities().items()))
    return sha256(told.encode()).hexdigest()[:16]


@cache
def multiplies_bf16() -> bool:
    """Tell whether OpenVINO multiplies bfloat16 on this processor."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def is_for(precision: Computed) -> bool:
    """Tell whether OpenVINO is there and can compute in this precision.

    Raises EncoderUnavailable for int8 where it is not there, for nothing else can.
    """
    if not is_installed():
        if precision == "int8":
            raise EncoderUnavailable(f"precision int8: needs OpenVINO and NNCF; run {EXTRA}")
        return False
    try:
        if precision != "bf16" or multiplies_bf16():
            return True
        log.warning("this processor does not multiply bf16, which is slow; pass --precision fp32")
    except (ImportError, RuntimeError) as error:
        log.warning("OpenVINO does not run here (%s)", first_line(error))
    return False


@contextmanager
def _unavailable() -> Iterator[None]:
    """Raise EncoderUnavailable for what OpenVINO raises, which has no types of its own."""
    try:
        yield
    except (ImportError, RuntimeError, OSError, MemoryError) as error:
        raise EncoderUnavailable(f"OpenVINO does not run here ({first_line(error)})") from error


def load(
    checkpoint: "SiglipCheckpoint", precision: Computed, full: Computed, sample: Sample | None
) -> OpenVinoTower:
    """Return the vision tower of a checkpoint in fp32, bf16 or int8.

    full: the precision that int8 is compared with, and that it computes the rest in.
    sample: pictures to calibrate int8 on, and to prove it on each time.
    Raises EncoderUnavailable where it cannot be converted or run, or int8 changes embeddings too much.
    """
    if precision != "int8":
        with _unavailable():
            return _in_full(OpenVinoFiles(checkpoint), checkpoint, full)
    fit, prove = drawn(sample, checkpoint.spec, precision)  # what the archive raises is no fault of OpenVINO
    with _unavailable():
        return _in_int8(checkpoint, full, fit, prove)


def _in_full(files: OpenVinoFiles, checkpoint: "SiglipCheckpoint", full: Computed) -> OpenVinoTower:
    # Rounded to float16 before bfloat16, weights lose nothing more, and take half the room.
    return OpenVinoTower(files.full("fp16" if full == "bf16" else "fp32"), full, checkpoint.dim)


def _in_int8(
    checkpoint: "SiglipCheckpoint", full: Computed, fit: Sequence[np.ndarray], prove: Sequence[np.ndarray]
) -> OpenVinoTower:
    files = OpenVinoFiles(checkpoint)
    expected = _in_full(files, checkpoint, full).pooled(prove, checkpoint.spec)

    for model in _int8_models(files, checkpoint, fit):
        reduced = OpenVinoTower(model, full, checkpoint.dim)
        cosine = least_cosine(reduced.pooled(prove, checkpoint.spec), expected)
        log.info("int8: the least cosine of %d pictures with %s is %.5f", len(prove), full, cosine)
        if cosine >= FAITHFUL:
            return reduced
        files.discard(model)
        del reduced  # calibrating again takes memory enough
    raise unfaithful(str(checkpoint.folder), "int8", cosine)


def _int8_models(
    files: OpenVinoFiles, checkpoint: "SiglipCheckpoint", fit: Sequence[np.ndarray]
) -> Iterator[Path]:
    """Yield models that may do, one after the other, each made when it is asked for.

    fit: pictures to calibrate on.
    """
    # What was calibrated on another archive will often do for this one too.
    yield from files.kept("int8")
    levels = stacked(fit, checkpoint.spec).numpy()
    if checkpoint.vision.num_attention_heads > 1:  # of one, OpenVINO 2026.4 computes batches wrong
        yield files.quantised(levels, exact_attention=False)  # the faster one first
    yield files.quantised(levels, exact_attention=True)
