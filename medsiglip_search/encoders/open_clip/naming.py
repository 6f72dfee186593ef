"""The name of an OpenCLIP model -> its folder and configuration."""

import os
from dataclasses import replace
from pathlib import Path

from medsiglip_search.checkpoints import Catalogue, Checkpoint
from medsiglip_search.encoders import OPEN_CLIP
from medsiglip_search.encoders.open_clip.layout import (
    CONFIG,
    TOKENIZER_FILES,
    WEIGHTS,
    Config,
    read_config,
)
from medsiglip_search.errors import EncoderUnavailable


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in WEIGHTS)


def _is_whole(folder: Path) -> bool:
    return _has_weights(folder) and (folder / CONFIG).is_file()


MODELS = Catalogue(
    kind="OpenCLIP model",
    shipped={},
    hub_names={},
    unavailable=EncoderUnavailable,
    # Of the weights those that are OpenCLIP's alone: many repositories hold them twice, the second time as
    # transformers has them.
    files=[CONFIG, "config.json", *TOKENIZER_FILES, *WEIGHTS[:-1]],
    complete=_is_whole,
    also=["an architecture and its weights (ViT-B-32/openai)"],
)


def locate(name: str, revision: str | None = None) -> tuple[Checkpoint, Config]:
    """Return where a model is, fetched if need be, and how it is built.

    name: a folder; an architecture and the tag of its weights, as OpenCLIP lists them, joined by "/"; or a
    hub id. The first of these that there is. revision: the commit of the hub that it must be.
    Raises EncoderUnavailable for what names none, is gated, or cannot be fetched.
    """
    path = Path(os.path.expanduser(name))
    if name and path.is_dir():
        return Checkpoint(path, f"{OPEN_CLIP}{path.resolve()}", None), read_config(path)
    if name and path.exists():
        MODELS.require_known(name)  # says what to do about a file
    import open_clip  # torch takes seconds to import

    architecture, _, tag = name.partition("/")
    if architecture in open_clip.list_models():
        return _of_tag(name, architecture, tag, revision)
    MODELS.require_known(name)
    folder = _snapshot(MODELS, name, revision)
    return Checkpoint(folder, OPEN_CLIP + name, folder.name), read_config(folder)


def _of_tag(name: str, architecture: str, tag: str, revision: str | None) -> tuple[Checkpoint, Config]:
    """Return weights that OpenCLIP lists, with its own configuration of the architecture."""
    import open_clip

    found = open_clip.get_pretrained_cfg(architecture, tag)
    repository = os.path.split(found.get("hf_hub", ""))[0]  # as OpenCLIP does: a name of a file may follow
    if not repository:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise EncoderUnavailable(
            f"{OPEN_CLIP}{name}: no such weights of {architecture}; "
            + (f"use {architecture}/TAG with one of {', '.join(tags)}" if tags else "OpenCLIP lists none")
        )
    folder = _snapshot(replace(MODELS, complete=_has_weights), repository, revision)
    model = dict(open_clip.get_model_config(architecture))
    # Some weights were trained with OpenAI's approximation of GELU, and are listed under architectures
    # without it, too. With another activation than in training they are worth less, and OpenCLIP only warns.
    model["quick_gelu"] = bool(model.get("quick_gelu") or found.get("quick_gelu"))
    source = f"OpenCLIP's configuration of {name}"
    return Checkpoint(folder, OPEN_CLIP + name, folder.name), Config(model, found, source)


def _snapshot(catalogue: Catalogue, hub_id: str, revision: str | None) -> Path:
    folder = catalogue.snapshot(hub_id, revision)
    if _has_weights(folder):
        return folder
    folder = replace(catalogue, files=[*catalogue.files, WEIGHTS[-1]]).snapshot(hub_id, revision)
    if _has_weights(folder):
        return folder
    raise EncoderUnavailable(
        f"{hub_id}: no safetensors weights on the hub; pickled ones (open_clip_pytorch_model.bin) can run "
        "code when they are opened and are not fetched; convert them, as docs/encoders.md tells, and pass "
        "the folder"
    )
