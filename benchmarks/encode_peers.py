"""Whom ours are compared with: transformers as a notebook uses it, and timm's network compiled."""

from typing import Any

import numpy as np
import torch
from transformers import AutoModel

from benchmarks.encode_inputs import Task
from medsiglip_search.encoders.precision import DTYPES
from medsiglip_search.encoders.preprocess import preprocess
from medsiglip_search.encoders.torch_calls import unit
from medsiglip_search.transformers_notices import quiet

BATCH = {"cpu": 1, "cuda": 64}
"""Pictures that a peer takes at once. On processors larger batches are slower; that is measured, too."""


class Peer:
    """A torch model that embeds the task's pictures, which lie on its device already, batch by batch."""

    def __init__(self, task: Task, precision: str, batch: int | None = None) -> None:
        """batch: by default as `BATCH` has it."""
        self._batch = batch or BATCH[task.device.type]
        self._pixels = preprocess(task.pictures, task.checkpoint.spec, task.device).to(DTYPES[precision])

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, D) embeddings of (N, 3, size, size) pictures."""
        raise NotImplementedError

    @torch.inference_mode()
    def embed(self, count: int) -> np.ndarray:
        """Return (count, D) float32 embeddings of the first pictures, each row of L2 norm 1."""
        return unit(torch.cat([self.pooled(part) for part in self._pixels[:count].split(self._batch)]))


class AutoModelLoop(Peer):
    """The loop of the notebook that Google publishes with the model: AutoModel as it comes, not compiled."""

    def __init__(
        self, task: Task, precision: str, batch: int | None = None, model: Any | None = None
    ) -> None:
        """model: that of another loop, to share its weights."""
        super().__init__(task, precision, batch)
        self.model = model or _auto_model(task, precision)

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.model.get_image_features(pixel_values=pixels).pooler_output
        return pooled


def _auto_model(task: Task, precision: str) -> Any:
    with quiet():
        model: Any = AutoModel.from_pretrained(
            task.checkpoint.folder, dtype=DTYPES[precision], local_files_only=True
        )
    del model.text_model  # only pictures are asked for, and memory is short
    return model.eval().to(task.device)


class CompiledTimm(Peer):
    """timm's vision transformer of the same shape, which OpenCLIP takes for SigLIP, compiled.

    Its weights are random.
    """

    def __init__(self, task: Task, precision: str) -> None:
        super().__init__(task, precision)
        model = _timm_transformer(task.checkpoint.vision)
        self._model = torch.compile(model.eval().to(task.device, DTYPES[precision]), dynamic=False)

    def pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self._model(pixels)
        return pooled


def _timm_transformer(vision: Any) -> torch.nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    dim, inner = vision.hidden_size, vision.intermediate_size
    return VisionTransformer(
        img_size=vision.image_size,
        patch_size=vision.patch_size,
        embed_dim=dim,
        depth=vision.num_hidden_layers,
        num_heads=vision.num_attention_heads,
        mlp_ratio=(inner + 0.5) / dim,  # timm cuts the product to a whole number
        act_layer="gelu_tanh",
        class_token=False,
        global_pool="map",
        num_classes=0,
    )
