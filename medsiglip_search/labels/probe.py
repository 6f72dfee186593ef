"""Probes: few-shot classifiers over stored embeddings, as safetensors files without any code in them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from medsiglip_search.errors import UnusableFile
from medsiglip_search.files import write_file
from medsiglip_search.labels import THRESHOLDS, Mode
from medsiglip_search.labels.calibration import FittedOn
from medsiglip_search.labels.calibration_file import require_same_embeddings
from medsiglip_search.labels.classifier import Classifier
from medsiglip_search.records import GalleryMeta, PreprocessSpec

SUFFIX = ".safetensors"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ProbeInfo:
    """What a probe's file says beside its numbers.

    encoder, weights_digest, spec: of the embeddings it was trained on. shots: the most images of a label
    that it was shown, None for all. strength: C of the logistic regression. auc: of each label on patients
    that it had not been shown, None where that is undefined.
    """

    name: str
    mode: Mode
    labels: tuple[str, ...]
    encoder: str
    weights_digest: str
    spec: PreprocessSpec
    fitted_on: FittedOn
    shots: int | None
    strength: float
    auc: Mapping[str, float | None]
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A trained probe: weights (L, D) float32, bias (L,) float32."""

    info: ProbeInfo
    weights: np.ndarray
    bias: np.ndarray

    @property
    def classifier(self) -> Classifier:
        """What it comes to. A score is the logit."""
        info = self.info
        digest = hashlib.sha256(json.dumps([info.mode, info.labels]).encode())
        digest.update(self.weights.tobytes() + self.bias.tobytes())
        return Classifier(
            name=info.name,
            mode=info.mode,
            kind="probe",
            labels=info.labels,
            weights=self.weights,
            bias=self.bias,
            scale=1.0,
            thresholds=np.full(len(info.labels), THRESHOLDS[info.mode]),
            digest=digest.hexdigest(),
        )


_INFO = TypeAdapter(ProbeInfo)


def _digest(said: str, weights: np.ndarray, bias: np.ndarray) -> str:
    """Return the SHA-256, in hex, of all that a file holds: its numbers have no other guard."""
    return hashlib.sha256(said.encode() + weights.tobytes() + bias.tobytes()).hexdigest()


def write_probe(probe: Probe, path: Path) -> None:
    """Write the file, whole or not at all. Raises UnusableFile if it cannot be written."""
    tensors = {
        "weights": np.ascontiguousarray(probe.weights, np.float32),
        "bias": probe.bias.astype(np.float32),
    }
    said = _INFO.dump_json(probe.info).decode()
    content = save(tensors, metadata={"probe": said, "sha256": _digest(said, **tensors)})
    try:
        write_file(path, content)
    except OSError as error:
        raise UnusableFile(f"{path}: cannot be written: {error.strerror}. Name another place") from None


def load_probe(path: Path, meta: GalleryMeta) -> Probe:
    """Return the probe of a file, for the embeddings of a gallery.

    Raises UnusableFile for a file that holds none or is damaged, GalleryMismatch for one that was trained on
    embeddings of another encoder or preprocessing.
    """
    try:
        with safe_open(path, "numpy") as file:
            said: Any = file.metadata() or {}
            weights, bias = file.get_tensor("weights"), file.get_tensor("bias")
        info, digest = _INFO.validate_json(said["probe"]), said["sha256"]
    except OSError as error:
        why = error.strerror or "no such file"
        raise UnusableFile(f"{path}: cannot be read: {why.lower()}. Name the file that probe wrote") from None
    except (SafetensorError, ValidationError, KeyError, ValueError):
        raise UnusableFile(f"{path}: holds no probe. Name the file that probe wrote") from None
    if info.format_version != FORMAT_VERSION:
        raise UnusableFile(f"{path}: of another release (format {info.format_version}). Train it again")
    sizes = weights.ndim == 2 and len(info.labels) == len(weights) and bias.shape == weights.shape[:1]
    numbers = weights.dtype == bias.dtype == np.float32
    finite = sizes and numbers and np.isfinite(weights).all() and np.isfinite(bias).all()
    if not finite or digest != _digest(said["probe"], weights, bias):
        raise UnusableFile(f"{path}: damaged. Train it again")
    require_same_embeddings(path, info.encoder, info.weights_digest, info.spec == meta.spec, meta)
    return Probe(info, weights, bias)
