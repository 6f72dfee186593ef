"""Small OpenCLIP checkpoints of the published layout, and what OpenCLIP itself answers with them."""

import copy
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from checkpoints import SENTENCES
from open_clip.push_to_hf_hub import save_config_for_hf
from PIL import Image
from safetensors.torch import save_file
from transformers import BertConfig, BertTokenizerFast

TEXT_TOWER = "org/tiny-bert"
"""What the text tower of the checkpoint in BiomedCLIP's layout is said to be made from."""

TOWERS: dict[str, dict[str, Any]] = {
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49_408, "width": 32, "heads": 2, "layers": 2},
}
CLIP: dict[str, Any] = {"embed_dim": 16, **TOWERS}
RESNET: dict[str, Any] = {
    **CLIP,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8, "patch_size": None},
}
COCA: dict[str, Any] = {
    "embed_dim": 16,
    "custom_text": True,
    "vision_cfg": {
        **TOWERS["vision_cfg"],
        "attentional_pool": True,
        "attn_pooler_heads": 2,
        "output_tokens": True,
    },
    "text_cfg": {**TOWERS["text_cfg"], "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {"context_length": 24, "width": 16, "heads": 2, "layers": 1, "attn_pooler_heads": 2},
}
SIGLIP_LIKE: dict[str, Any] = {**CLIP, "custom_text": True, "init_logit_bias": -10}
# As open_clip_config.json of microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224, with smaller towers.
BIOMEDCLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 160,
    },
    "text_cfg": {
        "hf_model_name": TEXT_TOWER,
        "hf_tokenizer_name": TEXT_TOWER,
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 24,
    },
}
LAYOUTS = {"clip": CLIP, "resnet": RESNET, "coca": COCA, "siglip": SIGLIP_LIKE, "biomedclip": BIOMEDCLIP}


def make_open_clip(folder: Path, layout: str = "clip", *, preprocess: dict[str, Any] | None = None) -> Path:
    """Write a whole checkpoint and return its folder.

    The weights are random and mean nothing; logit_scale is log 20.
    preprocess: what is said of it besides the mean and the standard deviation.
    """
    folder.mkdir(parents=True)
    config = copy.deepcopy(LAYOUTS[layout])
    if "hf_model_name" in config["text_cfg"]:
        _write_text_tower(folder)
    write_config(folder, with_text_tower_here(folder, config), {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_text=False, force_preprocess_cfg=preprocess
        )
        _make_random(model)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    save_config_for_hf(model, folder / "open_clip_config.json", config)
    return folder


def _make_random(model: torch.nn.Module) -> None:
    """Give every number a size at which pictures and texts are told apart."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "logit_scale":
                parameter.fill_(math.log(20))
            elif name == "logit_bias":
                parameter.fill_(-10)
            elif parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def _write_text_tower(folder: Path) -> None:
    """Write config.json of a BERT, and a WordPiece tokenizer."""
    letters = sorted({letter for sentence in SENTENCES for letter in sentence if not letter.isspace()})
    words = sorted({word for sentence in SENTENCES for word in sentence.split() if word.isalpha()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = list(
        dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words[::2]])
    )
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    BertTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        max_position_embeddings=64,
        attn_implementation="sdpa",
    ).save_pretrained(folder)


def write_config(folder: Path, model: dict[str, Any], preprocess: dict[str, Any]) -> None:
    content = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content), "utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "open_clip_config.json").read_text("utf-8"))
    return content


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of open_clip_config.json in place."""
    content = read_config(folder)
    change(content)
    (folder / "open_clip_config.json").write_text(json.dumps(content), "utf-8")


def with_text_tower_here(folder: Path, model: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration by which OpenCLIP itself finds the text tower without a hub."""
    here = copy.deepcopy(model)
    if "hf_model_name" in here["text_cfg"]:
        here["text_cfg"]["hf_model_name"] = str(folder)
    return here


@dataclass
class OwnWay:
    """A checkpoint as OpenCLIP itself loads it."""

    model: Any
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenize: Callable[[Sequence[str]], torch.Tensor]

    def pictures(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.stack([self.preprocess(Image.fromarray(image)) for image in images])

    @torch.inference_mode()
    def answers(self, images: Sequence[np.ndarray], texts: Sequence[str]) -> tuple[np.ndarray, ...]:
        """Return image embeddings, text embeddings and logits."""
        pictures, ids = self.pictures(images), self.tokenize(list(texts))
        image = self.model.encode_image(pictures, normalize=True)
        text = self.model.encode_text(ids, normalize=True)
        logits = self.model.logit_scale.exp() * image @ text.T
        if self.model.logit_bias is not None:
            logits = logits + self.model.logit_bias
        return image.numpy(), text.numpy(), logits.numpy()


def own_way(folder: Path, scratch: Path) -> OwnWay:
    """Return a checkpoint as OpenCLIP itself loads it, from a copy that needs no hub."""
    place = shutil.copytree(folder, scratch)
    content = read_config(place)
    write_config(place, with_text_tower_here(place, content["model_cfg"]), content["preprocess_cfg"])
    name = f"local-dir:{place}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    return OwnWay(model.eval(), preprocess, open_clip.get_tokenizer(name))
