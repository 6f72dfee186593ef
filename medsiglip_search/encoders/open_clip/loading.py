"""A checkpoint folder -> an encoder, built by OpenCLIP's own classes; no code and no pickle is loaded."""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
from open_clip.hf_configs import arch_dict
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from medsiglip_search.checkpoints import Checkpoint
from medsiglip_search.encoders.open_clip.encoder import OpenClipEncoder
from medsiglip_search.encoders.open_clip.layout import WEIGHTS, Config, text_tower_folder
from medsiglip_search.encoders.open_clip.text import Tokens, load_tokens
from medsiglip_search.encoders.precision import DTYPES, chosen, target
from medsiglip_search.encoders.weights import read_weights
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.records import Fit, PreprocessSpec, Resample
from medsiglip_search.transformers_notices import first_line, quiet

FITS: dict[str, Fit] = {"shortest": "crop", "longest": "pad", "squash": "stretch"}
"""By OpenCLIP's resize_mode. "longest" resizes before it pads: that differs at the border of the padding."""

RESAMPLES: dict[str, Resample] = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}
"""By OpenCLIP's interpolation; "random" is of the training, where OpenCLIP's inference is bicubic."""


def load(checkpoint: Checkpoint, config: Config, *, device: str, precision: str) -> OpenClipEncoder:
    """Return the encoder of a checkpoint folder. Raises EncoderUnavailable for what cannot be loaded."""
    folder = checkpoint.folder
    weights = read_weights(folder, WEIGHTS)
    if len(weights.files) > 1:
        raise EncoderUnavailable(f"{folder}: the weights are in several files; OpenCLIP's layout has one")
    on = target(device)
    computed = chosen(precision, on, weights.parameters)
    tokens = load_tokens(folder, config.model["text_cfg"])
    model = _model(folder, weights.files[0], config)
    _check_text(folder, model, tokens)
    spec = _spec(config, model.visual.image_size)
    logit = _logit(model)  # before the model is rounded
    try:
        model.to(device=on, dtype=DTYPES[computed])
    except RuntimeError as error:
        raise EncoderUnavailable(f"{folder}: does not go onto {on} ({first_line(error)})") from error
    return OpenClipEncoder(
        model,
        tokens,
        spec,
        name=checkpoint.name,
        revision=checkpoint.revision or "local",
        weights=weights,
        dim=config.model["embed_dim"],
        logit=logit,
    )


def _model(folder: Path, weights: Path, config: Config) -> Any:
    """Return the model in fp32 and with its weights."""
    kind, arguments = _architecture(folder, config)
    try:
        with quiet():
            model = kind(**arguments).float()
    except (
        Exception
    ) as error:  # a bad configuration surfaces in many types, here, in timm and in transformers
        message = f"{config.source}: the model cannot be built ({first_line(error)})"
        raise EncoderUnavailable(message) from error
    try:
        # OpenCLIP's own way with older names and shapes of tensors.
        keys = open_clip.load_checkpoint(model, str(weights), strict=False)
    except Exception as error:
        detail = next((line.strip() for line in str(error).splitlines()[1:]), first_line(error))
        raise EncoderUnavailable(f"{weights}: does not fit {config.source} ({detail[:200]})") from error
    if missing := sorted(keys.missing_keys):
        raise EncoderUnavailable(
            f"{weights}: lacks {len(missing)} of the tensors that {config.source} asks for (first "
            f"{missing[0]}); take both from one checkpoint"
        )
    if unknown := sorted(keys.unexpected_keys):
        raise EncoderUnavailable(
            f"{weights}: has {len(unknown)} tensors that {config.source} knows nothing of (first "
            f"{unknown[0]}); take both from one checkpoint"
        )
    return model.eval().requires_grad_(False)


def _architecture(folder: Path, config: Config) -> tuple[Any, dict[str, Any]]:
    """Return the class that OpenCLIP's create_model takes for a configuration, and its arguments.

    create_model itself would fetch the text tower's configuration from the hub.
    """
    arguments = copy.deepcopy(dict(config.model))
    vision, text = arguments["vision_cfg"], arguments["text_cfg"]
    tower = vision.get("timm_model_name")
    if tower and not re.fullmatch(r"[\w.-]+", str(tower)):
        raise EncoderUnavailable(f"{config.source}: {tower!r} names no vision tower of timm's own")
    vision["timm_model_pretrained"] = text["hf_model_pretrained"] = False
    custom = bool(arguments.pop("custom_text", False)) or "hf_model_name" in text
    if text.get("hf_model_name"):
        text["hf_model_name"] = str(text_tower_folder(folder, text["hf_model_name"], arch_dict))
    if not custom:
        return open_clip.CLIP, arguments
    return open_clip.CoCa if "multimodal_cfg" in arguments else open_clip.CustomTextCLIP, arguments


def _check_text(folder: Path, model: Any, tokens: Tokens) -> None:
    tower = getattr(model, "text", model)
    if tower.context_length and tokens.length > tower.context_length:
        raise EncoderUnavailable(
            f"{folder}: texts of {tokens.length} tokens, and a text tower for {tower.context_length}; take "
            "both from one checkpoint"
        )
    if tower.vocab_size and tokens.size > tower.vocab_size:
        raise EncoderUnavailable(
            f"{folder}: the tokenizer ({tokens.size} tokens) does not fit the text tower ({tower.vocab_size} "
            "tokens); take both from one checkpoint"
        )


def _spec(config: Config, image_size: Any) -> PreprocessSpec:
    """Return how the model's pictures are prepared, by OpenCLIP's defaults where nothing else is said."""
    said = merge_preprocess_dict(PreprocessCfg(), dict(config.preprocess))
    fit, resample = FITS.get(said["resize_mode"]), RESAMPLES.get(said["interpolation"])
    if fit is None or resample is None or said["mode"] != "RGB" or (fit == "pad" and said["fill_color"] != 0):
        raise EncoderUnavailable(
            f"{config.source}: pictures are prepared in a way that is not known here (resize_mode "
            f"{said['resize_mode']!r}, interpolation {said['interpolation']!r}, mode {said['mode']!r}, "
            f"fill_color {said['fill_color']!r})"
        )
    try:
        size = {int(side) for side in np.ravel(image_size)}
        mean, std = ([float(value) for value in np.broadcast_to(said[key], 3)] for key in ("mean", "std"))
    except (TypeError, ValueError) as error:
        raise EncoderUnavailable(f"{config.source}: mean and std must be three numbers each") from error
    if len(size) != 1 or min(std) <= 0:
        raise EncoderUnavailable(f"{config.source}: needs square pictures and a positive std")
    return PreprocessSpec(size.pop(), fit, resample, (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


def _logit(model: Any) -> tuple[float, float]:
    bias = 0.0 if model.logit_bias is None else float(model.logit_bias.item())
    return float(np.exp(model.logit_scale.item())), bias
