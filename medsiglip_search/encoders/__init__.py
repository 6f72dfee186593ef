"""Pictures and text -> embeddings in one space; an encoder by name."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from medsiglip_search.checkpoints import Catalogue, Shipped
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.records import GalleryMeta, PreprocessSpec

if TYPE_CHECKING:
    from medsiglip_search.encoders.calibration import Sample

DEMO_ENCODER = "demo"
"""The encoder that knows synthetic pictures only."""

OPEN_CLIP = "open_clip:"
"""What the name of an OpenCLIP model begins with."""

DEMO_FOLDER = Path(__file__).parents[1] / "demo" / "weights"
"""Its checkpoint."""

MEDSIGLIP = "google/medsiglip-448"

_COMMIT = re.compile("[0-9a-f]{40}")

ENCODERS = Catalogue(
    kind="encoder",
    shipped={DEMO_ENCODER: Shipped(DEMO_FOLDER, "medsiglip_search.demo.train")},
    hub_names={"medsiglip": MEDSIGLIP},
    unavailable=EncoderUnavailable,
    commits={MEDSIGLIP: "9cea28a1a1195f665105faa6e8544c112fd960a4"},
    also=[f"{OPEN_CLIP}NAME for a model of OpenCLIP"],
)


class Encoder(Protocol):
    """What turns pictures and text into unit embeddings of one space.

    name: what `load_encoder` finds the same encoder by.
    revision: commit of the hub, or "local" for a folder.
    weights_digest: fingerprint of the weights; embeddings of two digests cannot be compared.
    batch_size: how many pictures are worth handing over at once.
    scale, bias: SigLIP's pair logit is `scale * cosine + bias`.
    """

    name: str
    revision: str
    weights_digest: str
    dim: int
    spec: PreprocessSpec
    batch_size: int
    scale: float
    bias: float

    def with_spec(self, spec: PreprocessSpec) -> "Encoder":
        """Return this encoder for pictures that are prepared as `spec` says, such as those of a gallery.

        Raises GalleryMismatch if its size or its normalisation is not this encoder's.
        """
        ...

    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, D) float32 embeddings of (H, W, 3) uint8 pictures of any sizes, each row of L2 norm 1.

        Raises Unreadable(malformed) when an embedding of these pictures is not finite, MemoryError when there
        is not the memory for so many at once.
        """
        ...

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) float32 text embeddings, each row of L2 norm 1."""
        ...


def load_encoder(
    name: str | os.PathLike[str],
    device: str = "auto",
    precision: str = "auto",
    sample: "Sample | None" = None,
    revision: str | None = None,
) -> Encoder:
    """Return the encoder of a name ("demo", "medsiglip"), a checkpoint folder, or a hub id ("org/name").

    After "open_clip:" the folder or hub id is that of an OpenCLIP model, or one that OpenCLIP lists.
    device: "auto" (a GPU where there is one), or what torch calls it ("cpu", "cuda", "cuda:1").
    precision: "auto" (bf16 where the device multiplies it, else fp32), "fp32", "bf16", "int8" on processors,
        "fp8" on GPUs. sample: returns the pictures that int8 and fp8 must prove themselves on.
    revision: the commit of the hub that the checkpoint must be of; by default the one that `ENCODERS` names,
        else the newest, or the cached one.
    Raises EncoderUnavailable for a name that is unknown, for a checkpoint that is gated, not at hand,
    incomplete or of another architecture, and for a precision that the device does not have or that changes
    embeddings too much.
    """
    asked = os.fspath(name)
    if asked.startswith(OPEN_CLIP):
        from medsiglip_search.encoders.open_clip import load_open_clip

        return load_open_clip(
            asked.removeprefix(OPEN_CLIP), device=device, precision=precision, revision=revision
        )
    checkpoint = ENCODERS.locate(asked, revision)
    if (checkpoint.folder / "open_clip_config.json").is_file() and not _is_siglip(checkpoint.folder):
        raise EncoderUnavailable(f"{asked}: a checkpoint of OpenCLIP; pass {OPEN_CLIP}{asked}")
    from medsiglip_search.encoders.siglip import load_siglip  # torch and transformers take seconds to import

    return load_siglip(
        checkpoint.folder,
        name=checkpoint.name,
        revision=checkpoint.revision or "local",
        device=device,
        precision=precision,
        sample=sample,
    )


def load_encoder_of(
    meta: GalleryMeta,
    name: str | os.PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    sample: "Sample | None" = None,
) -> Encoder:
    """Return the encoder that a gallery was made with, of the very revision, for pictures as its own.

    name: another name for it, such as a folder with the same weights. Else as `load_encoder`. Raises
    GalleryMismatch where the encoder does not take the gallery's pictures.
    """
    is_own = name is None or os.fspath(name) == meta.encoder
    # A folder's revision is "local".
    revision = meta.revision if is_own and _COMMIT.fullmatch(meta.revision) else None
    encoder = load_encoder(meta.encoder if name is None else name, device, precision, sample, revision)
    return encoder.with_spec(meta.spec)


def _is_siglip(folder: Path) -> bool:
    """Tell whether a folder is also a SigLIP as transformers has it: some repositories hold both layouts."""
    try:
        return bool(json.loads((folder / "config.json").read_text("utf-8"))["model_type"] == "siglip")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
