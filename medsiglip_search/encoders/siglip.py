"""MedSigLIP, and every SigLIP of the published file layout, through transformers.

Pictures and text go in as in training: the text padded to its full length, and no attention mask.
"""

import copy
import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    SiglipModel,
    SiglipTextConfig,
    SiglipVisionConfig,
)

from medsiglip_search.devices import device_of, multiplies_bf16
from medsiglip_search.encoders.patches import each_alone
from medsiglip_search.encoders.preprocess import preprocess
from medsiglip_search.encoders.torch_calls import chunks, memory_error, unit
from medsiglip_search.encoders.weights import Weights, read_weights
from medsiglip_search.errors import EncoderUnavailable, GalleryMismatch, Reason, Unreadable
from medsiglip_search.records import PreprocessSpec
from medsiglip_search.transformers_notices import first_line, quiet

logger = logging.getLogger(__name__)

LARGE = 100_000_000
"""Parameters from which on a CPU takes pictures one at a time."""

FEWEST_TOGETHER = 4
"""Pictures that a batch is filled up to. With AVX-512 two would do, with AMX three."""

BF16_FROM = 2_000_000
"""Parameters from which on bf16 pays: below, most of the time goes elsewhere."""


class SiglipEncoder:
    """A SigLIP checkpoint as an `Encoder`."""

    def __init__(
        self,
        model: SiglipModel,
        tokenizer: PreTrainedTokenizerBase,
        spec: PreprocessSpec,
        *,
        name: str,
        revision: str,
        weights: Weights,
    ) -> None:
        self.name = name
        self.revision = revision
        self.weights_digest = weights.digest
        self.spec = spec
        self.dim = model.vision_model.config.hidden_size
        # One at a time is the fastest that torch does with a large tower on a CPU.
        self.batch_size = 1 if model.device.type == "cpu" and weights.parameters >= LARGE else 32
        self.scale, self.bias = _pair_logit(weights)
        self._model = model
        self._tokenizer = tokenizer
        # Padding and truncation are settings of the tokenizer, which each of its calls changes.
        self._tokenizing = threading.Lock()
        self._text_length = model.text_model.config.max_position_embeddings

    def with_spec(self, spec: PreprocessSpec) -> "SiglipEncoder":
        """Return this encoder for pictures that are prepared as `spec` says; it shares the weights.

        Raises GalleryMismatch if its size or its normalisation is not the checkpoint's.
        """
        own = self.spec
        if (spec.size, spec.mean, spec.std) != (own.size, own.mean, own.std):
            raise GalleryMismatch(
                f"{self.name}: takes pictures of {own.size} x {own.size}, mean {own.mean}, std {own.std}, "
                f"the gallery has {spec.size} x {spec.size}, {spec.mean}, {spec.std}. Pass --encoder "
                "or build a new gallery"
            )
        encoder = copy.copy(self)
        encoder.spec = spec
        return encoder

    @torch.inference_mode()
    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, D) float32 embeddings of (H, W, 3) uint8 pictures of any sizes, each row of L2 norm 1.

        Raises Unreadable(malformed) when an embedding of these pictures is not finite, MemoryError where the
        device has not the memory for them.
        """
        rows = [np.empty((0, self.dim), np.float32)]
        with memory_error():
            for chunk in chunks(images, self.batch_size):
                pixels = preprocess(chunk, self.spec, self._model.device).to(self._model.dtype)
                rows.append(unit(self._pooled(pixels)))
        embeddings = np.concatenate(rows)
        if broken := int((~np.isfinite(embeddings).all(axis=1)).sum()):
            message = f"the encoder gives no finite embedding for {broken} of {len(images)} pictures"
            raise Unreadable(Reason.MALFORMED, message)
        return embeddings

    def _pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return what the tower makes of (N, 3, size, size), whatever else is in the batch."""
        missing = 0 if self.batch_size == 1 else max(0, FEWEST_TOGETHER - len(pixels))
        # Few pictures are multiplied by other routines, which round otherwise: a query would not meet its own
        # row with a cosine of 1, and a run that was interrupted would end in other rows.
        filled = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)]) if missing else pixels
        return self._model.vision_model(pixel_values=filled).pooler_output[: len(pixels)]

    @property
    def patch_rows(self) -> int:
        """How many rows of patches, and as many columns, the tower cuts a picture into."""
        config = self._model.vision_model.config
        return int(config.image_size) // int(config.patch_size)

    @torch.inference_mode()
    def patch_scores(self, images: Sequence[np.ndarray], texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (N, T, R, R) float32 cosines and (N, R, R) float32 attention of each picture's patches.

        images: as for `embed_images`. texts: (T, D) float32, of L2 norm 1. R: `patch_rows`, the first above.
        The cosines are those of what the pooling head says of a patch alone; the attention, how much it looks
        at each for the embedding of the picture, sums to 1.
        Raises Unreadable(malformed) when one is not finite, MemoryError as `embed_images` does.
        """
        rows = self.patch_rows
        queries = torch.from_numpy(texts).to(self._model.device)
        cosines = [np.empty((0, len(texts), rows, rows), np.float32)]
        attention = [np.empty((0, rows, rows), np.float32)]
        with memory_error():
            for chunk in chunks(images, self.batch_size):
                pixels = preprocess(chunk, self.spec, self._model.device).to(self._model.dtype)
                tokens = self._model.vision_model(pixel_values=pixels).last_hidden_state
                said, weights = each_alone(self._model.vision_model.head, tokens)
                scores = queries @ said.transpose(1, 2)
                cosines.append(scores.unflatten(-1, (rows, rows)).cpu().numpy())
                attention.append(weights.unflatten(-1, (rows, rows)).cpu().numpy())
        if not all(np.isfinite(part).all() for part in cosines + attention):
            raise Unreadable(Reason.MALFORMED, "the encoder gives no finite number for some of the patches")
        return np.concatenate(cosines), np.concatenate(attention)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) float32 text embeddings, each row of L2 norm 1.

        Text beyond the model's length is cut off, and a warning logged.
        Raises EncoderUnavailable when an embedding is not finite: the weights must be damaged.
        """
        rows = [np.empty((0, self.dim), np.float32)]
        for chunk in chunks(texts, self.batch_size):
            ids = self.tokenize(chunk).to(self._model.device)
            rows.append(unit(self._model.text_model(input_ids=ids).pooler_output))
        embeddings = np.concatenate(rows)
        if not np.isfinite(embeddings).all():
            raise EncoderUnavailable(f"{self.name}: gives text no finite embedding; fetch its weights again")
        return embeddings

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        """Return (N, L) int64 token ids, padded and cut to the text tower's length L. For any thread."""
        with self._tokenizing:
            return self._tokenized(texts)

    def _tokenized(self, texts: Sequence[str]) -> torch.Tensor:
        lengths = [len(ids) for ids in self._tokenizer(list(texts), verbose=False)["input_ids"]]
        if cut := sum(length > self._text_length for length in lengths):
            # The text itself stays out of the log: it can name a patient.
            logger.warning(
                "%d of %d texts have more than %d tokens; what goes beyond was cut off",
                cut,
                len(texts),
                self._text_length,
            )
        encoded = self._tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self._text_length,
        )
        return torch.tensor(encoded["input_ids"])


def load_siglip(folder: Path, *, name: str, revision: str, device: str = "auto") -> SiglipEncoder:
    """Return the encoder of a checkpoint folder: config.json, safetensors, tokenizer; no code from it is run.

    All but the smallest models run in bf16 where the device multiplies it, everything else in fp32.
    Raises EncoderUnavailable when a part is missing or damaged, or the checkpoint is not a SigLIP.
    """
    _check_architecture(folder)
    weights = read_weights(folder)
    target = _device(device)
    with quiet():
        tokenizer = _tokenizer(folder)
        model = _model(folder, target, _precision(target, weights.parameters))
    _check_fit(folder, model.text_model.config, model.vision_model.config, tokenizer)
    spec = _spec(folder, model.vision_model.config)
    return SiglipEncoder(model, tokenizer, spec, name=name, revision=revision, weights=weights)


def _check_architecture(folder: Path) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise EncoderUnavailable(f"{folder}: no config.json; pass the folder of a whole SigLIP checkpoint")
    architecture = _read_json(path).get("model_type")
    if architecture != "siglip":
        raise EncoderUnavailable(
            f"{path}: a checkpoint of architecture {architecture!r}; this loader takes SigLIP ('siglip') only"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderUnavailable(f"{path}: cannot be read as JSON; fetch it again") from error
    if not isinstance(value, dict):
        raise EncoderUnavailable(f"{path}: not a JSON object; fetch it again")
    return value


def _device(name: str) -> torch.device:
    try:
        return device_of(name)
    except ValueError as error:
        raise EncoderUnavailable(str(error)) from error


def _precision(device: torch.device, parameters: int) -> torch.dtype:
    if parameters < BF16_FROM:
        return torch.float32
    return torch.bfloat16 if multiplies_bf16(device) else torch.float32


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer that tokenizer_config.json names.

    The published one is SiglipTokenizer, from spiece.model. The tokenizer.json beside it is not the same:
    it keeps "/", "<" and ">", which SiglipTokenizer drops.
    """
    if not any((folder / file).is_file() for file in ("spiece.model", "tokenizer.json", "tokenizer.model")):
        message = f"{folder}: no tokenizer (spiece.model or tokenizer.json); fetch the whole checkpoint"
        raise EncoderUnavailable(message)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises what its backends raise
        message = f"{folder}: the tokenizer cannot be loaded ({first_line(error)})"
        raise EncoderUnavailable(message) from error
    return tokenizer


def _model(folder: Path, device: torch.device, dtype: torch.dtype) -> SiglipModel:
    try:
        loaded: Any = SiglipModel.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        model: SiglipModel = loaded[0].eval().to(device)
    except Exception as error:  # a bad config or tensor surfaces in many types, here and in safetensors
        message = f"{folder}: the model cannot be loaded ({first_line(error)})"
        raise EncoderUnavailable(message) from error
    # transformers fills what is missing with random numbers, and only warns.
    if missing := sorted(loaded[1]["missing_keys"]):
        raise EncoderUnavailable(
            f"{folder}: the weights lack {len(missing)} of the model's tensors (first {missing[0]}); "
            "fetch them again"
        )
    return model


def _check_fit(
    folder: Path, text: SiglipTextConfig, vision: SiglipVisionConfig, tokenizer: PreTrainedTokenizerBase
) -> None:
    if text.projection_size != vision.hidden_size:
        raise EncoderUnavailable(
            f"{folder}: text embeds to {text.projection_size} numbers and pictures to {vision.hidden_size}; "
            "config.json does not belong to a SigLIP"
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
    normalisation = _read_json(path) if path.is_file() else {}
    try:
        size = {int(side) for side in np.ravel(vision.image_size)}
        mean, std = (
            [float(value) for value in np.reshape(normalisation.get(key, [0.5, 0.5, 0.5]), 3)]
            for key in ("image_mean", "image_std")
        )
    except (TypeError, ValueError) as error:
        raise EncoderUnavailable(f"{path}: image_mean and image_std must be three numbers each") from error
    if len(size) != 1 or min(std) <= 0:
        message = f"{folder}: needs square pictures and a positive image_std; check its JSON files"
        raise EncoderUnavailable(message)
    return PreprocessSpec(size=size.pop(), mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))


def _pair_logit(weights: Weights) -> tuple[float, float]:
    """Return scale and bias of the pair logit in full precision; the model may hold them in bf16."""
    found: dict[str, float] = {}
    for path in weights.files:
        with safe_open(path, framework="pt") as file:
            for key in {"logit_scale", "logit_bias"} & set(file.keys()):
                found[key] = file.get_tensor(key).float().item()
    return float(np.exp(found["logit_scale"])), found["logit_bias"]
