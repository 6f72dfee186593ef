"""What the files of an OpenCLIP checkpoint say; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsiglip_search.checkpoints import Catalogue
from medsiglip_search.encoders.checkpoint_json import read_json
from medsiglip_search.errors import EncoderUnavailable

CONFIG = "open_clip_config.json"

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
"""What the weights are called, in the order in which OpenCLIP itself looks for them."""

VOCABULARIES = (
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
"""The files any of which a tokenizer of transformers can be made from."""

TOKENIZER_FILES = (
    *VOCABULARIES,
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True, slots=True)
class Config:
    """How a model is built and its pictures prepared, in OpenCLIP's own words. source: where that is said."""

    model: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    source: str


def read_config(folder: Path) -> Config:
    """Return what open_clip_config.json says. Raises EncoderUnavailable if that is not there or unusable."""
    path = folder / CONFIG
    if not path.is_file():
        raise EncoderUnavailable(_not_open_clip(folder))
    content = read_json(path)
    model, preprocess = content.get("model_cfg"), content.get("preprocess_cfg") or {}
    if not isinstance(model, dict) or not isinstance(preprocess, dict):
        raise EncoderUnavailable(f"{path}: no model_cfg of an OpenCLIP model; fetch it again")
    for part, kind in (("embed_dim", int), ("vision_cfg", dict), ("text_cfg", dict)):
        if not isinstance(model.get(part), kind):
            raise EncoderUnavailable(f"{path}: model_cfg has no usable {part}; fetch it again")
    return Config(model, preprocess, str(path))


def text_tower_folder(folder: Path, hub_id: str, architectures: Mapping[str, Any]) -> Path:
    """Return a folder whose config.json is that of a text tower: the checkpoint's own, or the hub's.

    hub_id: what the tower was made from. architectures: the model types that OpenCLIP can use.
    """
    own = _model_type(folder / "config.json")
    if own in architectures:
        return folder
    there = _fetched(folder, hub_id, "config.json of the text tower", _TOWERS)
    if (kind := _model_type(there / "config.json")) not in architectures:
        raise EncoderUnavailable(
            f"{folder}: its text tower, {hub_id}, is of the architecture {kind!r}; OpenCLIP takes "
            f"{', '.join(architectures)}"
        )
    return there


def tokenizer_folder(folder: Path, hub_id: str) -> Path:
    """Return a folder with the tokenizer: the checkpoint's own, or that of the hub's `hub_id`."""
    return folder if _has_tokenizer(folder) else _fetched(folder, hub_id, "the tokenizer", _TOKENIZERS)


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in VOCABULARIES)


def _has_config(folder: Path) -> bool:
    return (folder / "config.json").is_file()


_TOWERS = Catalogue(
    kind="text tower",
    shipped={},
    hub_names={},
    unavailable=EncoderUnavailable,
    files=["config.json"],
    complete=_has_config,
)
_TOKENIZERS = Catalogue(
    kind="tokenizer",
    shipped={},
    hub_names={},
    unavailable=EncoderUnavailable,
    files=["config.json", *TOKENIZER_FILES],  # without tokenizer_config.json, config.json tells its class
    complete=_has_tokenizer,
)


def _fetched(folder: Path, hub_id: str, what: str, catalogue: Catalogue) -> Path:
    try:
        there = catalogue.snapshot(hub_id)
    except EncoderUnavailable as error:
        raise EncoderUnavailable(
            f"{folder}: {what} is not in the folder, nor to be had from {hub_id}; put it there ({error})"
        ) from error
    if not catalogue.complete(there):
        raise EncoderUnavailable(f"{folder}: {what} is neither in the folder nor in {hub_id}; put it there")
    return there


def _model_type(path: Path) -> str | None:
    return str(read_json(path).get("model_type")) if path.is_file() else None


def _not_open_clip(folder: Path) -> str:
    """Return what to say of a folder without open_clip_config.json."""
    kind = _model_type(folder / "config.json")
    if kind is None:
        return f"{folder}: no {CONFIG}; pass the folder of a whole OpenCLIP checkpoint"
    advice = "pass it without open_clip:" if kind == "siglip" else "OpenCLIP's own layout is needed"
    return f"{folder}: no {CONFIG}, but a checkpoint of transformers, architecture {kind!r}; {advice}"
