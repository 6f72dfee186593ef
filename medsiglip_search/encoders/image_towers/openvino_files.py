"""The files that OpenVINO runs a checkpoint's vision tower from: made when they are first needed, and kept.

They lie in a folder `openvino` beside the weights, or below the user's cache where nobody may write there. A
change of the weights, of their normalisation or of OpenVINO makes other files.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from medsiglip_search import checksums, locks
from medsiglip_search.devices import adds_in_32_bits
from medsiglip_search.encoders.image_towers.openvino_library import openvino
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.files import digest

if TYPE_CHECKING:
    from medsiglip_search.encoders.siglip.checkpoint import SiglipCheckpoint

log = logging.getLogger(__name__)

Kind = Literal["fp32", "fp16", "int8"]
"""The numbers that the weights are kept as."""

XML, BIN = "model.xml", "model.bin"
EXACT_ATTENTION = "exact-attention"  # said to the process that quantises
FORMAT = 2  # of what this package converts: another network, another number
_UNFINISHED = "unfinished-"
_PACKAGE = Path(__file__).resolve().parents[2]
LOOK_EVERY_S = 0.5


class OpenVinoFiles:
    """The files of one checkpoint. folder: where they lie."""

    def __init__(self, checkpoint: "SiglipCheckpoint") -> None:
        beside, cache = checkpoint.folder / "openvino", _cache(checkpoint.weights.digest)
        # What this package came with stays as it was installed.
        is_ours = _PACKAGE in checkpoint.folder.resolve().parents
        can_write = os.access(beside if beside.exists() else checkpoint.folder, os.W_OK)
        self.folder = beside if can_write and not is_ours else cache
        self._places = [beside, cache]
        self._checkpoint = checkpoint
        network = checkpoint.vision.to_json_string(use_diff=False)
        self._told = (FORMAT, checkpoint.weights.digest, network, checkpoint.spec.mean, checkpoint.spec.std)

    def full(self, kind: Literal["fp32", "fp16"]) -> Path:
        """Return the model in these numbers, converted first where it is not there.

        Raises EncoderUnavailable where that fails.
        """
        if (path := self.found(kind)) is not None:
            return path
        with self._alone():
            if (path := self.found(kind)) is not None:  # by another process, meanwhile
                return path
            log.warning("converting the encoder for OpenVINO: once, about a minute; kept in %s", self.folder)
            return self._made(kind, str(self._checkpoint.folder), [])

    def quantised(self, levels: np.ndarray, *, exact_attention: bool) -> Path:
        """Return the model in int8, anew, calibrated on (N, size, size, 3) uint8 pictures.

        exact_attention: with the products of attention in full precision: a little slower, and finer.
        Raises EncoderUnavailable where that fails.
        """
        full = self.full("fp32")
        log.warning(
            "calibrating int8 on %d pictures of the archive%s: some minutes",
            len(levels),
            ", attention in full precision" if exact_attention else "",
        )
        # In this folder, so that they go with what else a killed process leaves.
        with self._alone(), tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=self.folder) as folder:
            pictures = Path(folder) / "pictures.npy"
            np.save(pictures, levels)
            more = [str(pictures), *([EXACT_ATTENTION] if exact_attention else [])]
            try:
                return self._made("int8", str(full), more)
            except EncoderUnavailable as error:
                raise EncoderUnavailable(f"{error}; leave --precision out") from error

    def found(self, kind: Kind) -> Path | None:
        """Return the model in these numbers, None where there is none or it is damaged."""
        return next(self.kept(kind), None)

    def kept(self, kind: Kind) -> Iterator[Path]:
        """Yield the models in these numbers, beside the weights and in the user's cache."""
        for place in self._places:
            if (path := self._sound(place / self._name(kind))) is not None:
                yield path

    def _sound(self, folder: Path) -> Path | None:
        """Return the model in a folder, None if there is none or it is damaged."""
        try:
            listed = checksums.read_list(folder).digests
            if {XML, BIN} <= listed.keys() and all(
                digest(folder / name) == listed[name] for name in (XML, BIN)
            ):
                return folder / XML
            log.warning("%s: damaged; it is made again", folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s: cannot be read (%s); it is made again", folder, error.strerror)
        return None

    @staticmethod
    def discard(model: Path) -> None:
        """Take a model away, if this may be written."""
        shutil.rmtree(model.parent, ignore_errors=True)

    def _name(self, kind: Kind) -> str:
        """Return the name of a model's folder: another one for all that the model depends on."""
        # What is calibrated for one kind of processor can be clamped on another.
        told = (*self._told, openvino().__version__, adds_in_32_bits() if kind == "int8" else None)
        return f"{kind}-{sha256(repr(told).encode()).hexdigest()[:16]}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process makes files here. Raises EncoderUnavailable for an OSError inside."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                while True:
                    try:
                        stack.enter_context(locks.exclusive(self.folder / "lock"))
                        break
                    except locks.Held:
                        time.sleep(LOOK_EVERY_S)
                for left in self.folder.glob(f"{_UNFINISHED}*"):  # by one that was killed
                    shutil.rmtree(left, ignore_errors=True)
                yield
        except OSError as error:
            raise EncoderUnavailable(f"{self.folder}: cannot be written ({error.strerror})") from error

    def _made(self, kind: Kind, source: str, more: Sequence[str]) -> Path:
        """Return the model that a process of its own makes of `source`; what stood in its place goes."""
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        unfinished.chmod(0o755)  # whoever may read the weights may read this
        try:
            _converted([source, str(unfinished / XML), kind, *more])
            checksums.write_list(unfinished, checksums.digests_of(unfinished, (XML, BIN)))
            for stale in self.folder.glob(f"{kind}-*"):
                shutil.rmtree(stale, ignore_errors=True)
            os.replace(unfinished, self.folder / self._name(kind))
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return self.folder / self._name(kind) / XML


def _converted(arguments: Sequence[str]) -> None:
    """Let a process make the model. Raises EncoderUnavailable."""
    # -P: or a torch.py that lies in the working folder, an archive somebody sent, would be run.
    command = [sys.executable, "-P", "-m", f"{__package__}.openvino_convert", *arguments]
    path = os.pathsep.join([str(_PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    tie, held = os.pipe()  # the process reads to its end, which comes when this one ends, however it does
    try:
        ended = subprocess.run(
            command,
            stdin=tie,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    finally:
        os.close(tie)
        os.close(held)
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.strip()]
        why = said[-1].strip()[:200] if said else f"it ended with {ended.returncode}"
        raise EncoderUnavailable(f"{arguments[0]}: cannot be made a model of OpenVINO ({why})")


def _cache(weights_digest: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "medsiglip-search" / "openvino" / weights_digest[:16]
