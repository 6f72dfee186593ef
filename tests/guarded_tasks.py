"""What the tests let run in a worker of the guard."""

import ctypes
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hostile_case import PATIENT

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images import open_image
from medsiglip_search.images.limits import MAX_FRAME_PIXELS

FRAMES = 16
MALLOPT_PERTURB = -6
CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a file: a reason, or the pictures of at most FRAMES frames.

    pixels, last: of the first and of the last frame that was read.
    """

    reason: Reason | None
    message: str = ""
    frames: int = 0
    flags: tuple[str, ...] = ()
    pixels: np.ndarray | None = None
    last: np.ndarray | None = None


def look_and_measure(source: str | bytes) -> Iterator[tuple[Outcome, int]]:
    """Yield what comes of a file, and the most memory that the worker held meanwhile.

    In bytes; 0 where the system does not say.
    """
    _forget_peak()
    for outcome in look(source):
        yield outcome, _peak_bytes()


def look(source: str | bytes) -> Iterator[Outcome]:
    """Yield what comes of a file."""
    try:
        yield _shown(source)
    except Unreadable as error:
        yield Outcome(error.reason, str(error))


def _shown(source: str | bytes) -> Outcome:
    pictures = []
    with open_image(source) as image:
        for frame in image.sampled(FRAMES):
            picture = image.read(frame)
            assert picture.pixels.dtype == np.uint8
            assert picture.pixels.ndim == 3
            assert picture.pixels.shape[2] == 3
            assert picture.pixels[..., 0].size <= MAX_FRAME_PIXELS
            assert picture.frame == frame
            pictures[1:] = [picture]
    first, last = pictures[0], pictures[-1]
    return Outcome(None, "", image.frame_count, first.flags, first.pixels, last.pixels)


def attempt(path: str) -> Iterator[tuple[str, str]]:
    """Yield what comes of a damaged file: "picture" or the reason, or "FAILED" and where the code broke.

    A file is read twice. Pixels that differ are memory that a decoder never wrote to.
    """
    try:
        shown, again = _shown(path), _shown_on_filled_memory(path)
        outcome = "picture", f"{shown.frames} frames"
        if not (np.array_equal(shown.pixels, again.pixels) and np.array_equal(shown.last, again.last)):
            outcome = "FAILED", "some of its pixels are memory that was never written to"
    except Unreadable as error:
        outcome = str(error.reason), str(error)
        if any(word in outcome[1] for word in (*PATIENT.split("^"), path)):
            outcome = "FAILED", f"its message tells of the file: {outcome[1]}"
    except BaseException:
        outcome = "FAILED", traceback.format_exc()
    yield outcome


def _shown_on_filled_memory(path: str) -> Outcome:
    """Return what is shown where fresh memory holds nothing of what was there before, with glibc."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return _shown(path)
    set_option(MALLOPT_PERTURB, 0x55)
    try:
        return _shown(path)
    finally:
        set_option(MALLOPT_PERTURB, 0)


def _forget_peak() -> None:
    # Not getrusage: its peak cannot be set back, and begins at that of the process which started this one.
    if CLEAR_REFS.exists():
        CLEAR_REFS.write_text("5")


def _peak_bytes() -> int:
    if not CLEAR_REFS.exists():
        return 0
    [peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024
