"""A checkpoint folder of the published SigLIP layout, read and checked; each tower is loaded by itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipTextModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from medsiglip_search.encoders.checkpoint_json import read_json
from medsiglip_search.encoders.weights import Weights, read_weights
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.records import PreprocessSpec
from medsiglip_search.transformers_notices import first_line, quiet


@dataclass(frozen=True, slots=True)
class SiglipCheckpoint:
    """A whole checkpoint, of which no tower has been loaded yet.

    scale, bias: SigLIP's pair logit is `scale * cosine + bias`.
    """

    folder: Path
    text: SiglipTextConfig
    vision: SiglipVisionConfig
    weights: Weights
    tokenizer: PreTrainedTokenizerBase
    spec: PreprocessSpec
    scale: float
    bias: float

    @property
    def dim(self) -> int:
        return int(self.vision.hidden_size)

    @property
    def text_length(self) -> int:
        """How many tokens a text is padded to."""
        return int(self.text.max_position_embeddings)

    def load_vision(self, dtype: torch.dtype, device: torch.device) -> SiglipVisionModel:
        """Return the vision tower; the other one's weights are not read. Raises EncoderUnavailable."""
        return self._load(SiglipVisionModel, dtype, device)

    def load_text(self, dtype: torch.dtype, device: torch.device) -> SiglipTextModel:
        """Return the text tower; the other one's weights are not read. Raises EncoderUnavailable."""
        return self._load(SiglipTextModel, dtype, device)

    def _load(self, tower: type[PreTrainedModel], dtype: torch.dtype, device: torch.device) -> Any:
        try:
            with quiet():
                model = tower.from_pretrained(
                    self.folder,
                    dtype=dtype,
                    attn_implementation="sdpa",
                    use_safetensors=True,
                    local_files_only=True,
                )
            return model.eval().to(device)
        except torch.OutOfMemoryError as error:
            raise EncoderUnavailable(
                f"{self.folder}: {device} has not the memory for the model; close what else uses it, or pass "
                "--device cpu"
            ) from error
        except Exception as error:  # a bad config or tensor surfaces in many types, here and in safetensors
            raise _cannot_be_loaded(self.folder, error) from error


def read_checkpoint(folder: Path) -> SiglipCheckpoint:
    """Return the checkpoint of a folder: config.json, safetensors, tokenizer; no code from it is run.

    Raises EncoderUnavailable when a part is missing or damaged, or the checkpoint is not a SigLIP.
    """
    _check_architecture(folder)
    weights = read_weights(folder)
    with quiet():
        tokenizer = _tokenizer(folder)
        config = _config(folder)
        _check_tensors(folder, config, weights)
    folder = folder.absolute()  # the towers are loaded later, when this may no longer be the working folder
    text: Any = config.text_config
    vision: Any = config.vision_config
    _check_fit(folder, text, vision, tokenizer)
    return SiglipCheckpoint(
        folder, text, vision, weights, tokenizer, _spec(folder, vision), *_pair_logit(weights)
    )


def _check_architecture(folder: Path) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise EncoderUnavailable(f"{folder}: no config.json; pass the folder of a whole SigLIP checkpoint")
    architecture = read_json(path).get("model_type")
    if architecture != "siglip":
        raise EncoderUnavailable(
            f"{path}: a checkpoint of architecture {architecture!r}; this loader takes SigLIP ('siglip') only"
        )


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer that tokenizer_config.json names.

    The published one is SiglipTokenizer, from spiece.model. The tokenizer.json beside it is not the same:
    it keeps "/", "<" and ">", which SiglipTokenizer drops.
    """
    if not any((folder / file).is_file() for file in ("spiece.model", "tokenizer.json", "tokenizer.model")):
        message = f"{folder}: no tokenizer (spiece.model or tokenizer.json); fetch the whole checkpoint"
        raise EncoderUnavailable(message)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers raises what its backends raise
        message = f"{folder}: the tokenizer cannot be loaded ({first_line(error)})"
        raise EncoderUnavailable(message) from error
    return tokenizer


def _config(folder: Path) -> SiglipConfig:
    try:
        config: SiglipConfig = SiglipConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a bad value surfaces in many types
        raise _cannot_be_loaded(folder, error) from error
    return config


def _check_tensors(folder: Path, config: SiglipConfig, weights: Weights) -> None:
    """Raise EncoderUnavailable unless the files hold each tensor of both towers, of the right shape.

    Told here, for a tower is loaded when it is first needed, and transformers fills what is missing with
    random numbers.
    """
    try:
        with torch.device("meta"):
            expected = {key: tuple(one.shape) for key, one in SiglipModel(config).state_dict().items()}
    except Exception as error:  # a bad value surfaces in many types
        raise _cannot_be_loaded(folder, error) from error
    if missing := sorted(expected.keys() - weights.shapes.keys()):
        raise EncoderUnavailable(
            f"{folder}: the weights lack {len(missing)} of the model's tensors (first {missing[0]}); "
            "fetch them again"
        )
    wrong = [key for key, shape in expected.items() if weights.shapes[key] != shape]
    if wrong:
        raise EncoderUnavailable(
            f"{folder}: the model cannot be loaded ({len(wrong)} tensors have not the shape that config.json "
            f"says, first {wrong[0]}); take both from one checkpoint"
        )


def _cannot_be_loaded(folder: Path, error: Exception) -> EncoderUnavailable:
    return EncoderUnavailable(f"{folder}: the model cannot be loaded ({first_line(error)})")


def _check_fit(
    folder: Path, text: SiglipTextConfig, vision: SiglipVisionConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    if text.projection_size != vision.hidden_size:
        raise EncoderUnavailable(
            f"{folder}: text embeds to {text.projection_size} numbers and pictures to {vision.hidden_size}; "
            "config.json does not belong to a SigLIP"
        )
    if not getattr(vision, "vision_use_head", True):
        raise EncoderUnavailable(
            f"{folder}: config.json says that the vision tower has no head; fetch it again"
        )
    if len(tokenizer) > text.vocab_size or tokenizer.pad_token_id is None:
        raise EncoderUnavailable(
            f"{folder}: the tokenizer ({len(tokenizer)} tokens, padding {tokenizer.pad_token!r}) does not "
            f"fit the text tower ({text.vocab_size} tokens); take both from one checkpoint"
        )


def _spec(folder: Path, vision: SiglipVisionConfig) -> PreprocessSpec:
    """Return the checkpoint's size, mean and std, with the padding and resize of MedSigLIP's training.

    preprocessor_config.json also names a resize; it is not the one of the training.
    """
    path = folder / "preprocessor_config.json"
    normalisation = read_json(path) if path.is_file() else {}
    try:
        size = {int(side) for side in np.ravel(vision.image_size)}
        mean, std = (
            [float(value) for value in np.reshape(normalisation.get(key, [0.5, 0.5, 0.5]), 3)]
            for key in ("image_mean", "image_std")
        )
    except (TypeError, ValueError) as error:
        raise EncoderUnavailable(f"{path}: image_mean and image_std must be three numbers each") from error
    if len(size) != 1 or not np.isfinite(mean).all() or not all(0 < one < np.inf for one in std):
        message = f"{folder}: needs square pictures and a positive image_std; check its JSON files"
        raise EncoderUnavailable(message)
    return PreprocessSpec(size=size.pop(), mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))


def _pair_logit(weights: Weights) -> tuple[float, float]:
    """Return scale and bias of the pair logit in full precision; the model may hold them in bf16."""
    found: dict[str, float] = {}
    for path in weights.files:
        try:
            with safe_open(path, framework="pt") as file:
                for key in {"logit_scale", "logit_bias"} & set(file.keys()):
                    found[key] = file.get_tensor(key).float().item()
        except Exception as error:  # safetensors has types of its own for what a header may have
            raise EncoderUnavailable(
                f"{path}: cannot be read ({first_line(error)}); fetch it again"
            ) from error
    if not np.isfinite(list(found.values())).all():
        raise EncoderUnavailable(
            f"{weights.files[0]}: logit_scale and logit_bias are no numbers; fetch it again"
        )
    return float(np.exp(found["logit_scale"])), found["logit_bias"]
