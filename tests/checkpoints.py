"""Small checkpoints of the published SigLIP layout, made in place: random weights, a real tokenizer."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import sentencepiece
import torch
from transformers import SiglipConfig, SiglipModel
from transformers.utils import logging as transformers_logging

from medsiglip_search import encoders

Size = Literal["tiny", "medsiglip"]

TOWERS: Mapping[Size, Mapping[str, int]] = {
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2},
    "medsiglip": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
    },
}
IMAGE_SIZE: Mapping[Size, int] = {"tiny": 28, "medsiglip": 448}

SENTENCES = [
    "chest radiograph of a patient with left pleural effusion",
    "chest radiograph without pneumothorax, heart size is normal",
    "head ct with a right subdural hematoma and midline shift",
    "no acute intracranial hemorrhage; the ventricles are of normal size",
    "fundus photograph with severe diabetic retinopathy",
    "dermoscopy of a melanoma with irregular border on the back",
    "histology of invasive breast cancer, hematoxylin and eosin",
    "the quick brown fox jumps over the lazy dog 0 1 2 3 4 5 6 7 8 9 / < > ( ) - . , : ;",
]


def ship(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the demo encoder's checkpoint be this folder."""
    demo = replace(encoders.ENCODERS.shipped["demo"], folder=folder)
    monkeypatch.setattr(encoders, "ENCODERS", replace(encoders.ENCODERS, shipped={"demo": demo}))


def make_checkpoint(
    folder: Path,
    *,
    size: Size = "tiny",
    seed: int = 0,
    vocabulary: int = 200,
    shard_bytes: int = 50 << 30,
) -> Path:
    """Write a whole checkpoint (config, safetensors, SentencePiece tokenizer); return its folder.

    The weights are random (from the seed) and mean nothing; logit_scale is log 10 and logit_bias -10.
    vocabulary: how many tokens the text tower knows; 200 is enough for the tokenizer made here.
    shard_bytes: the weights are split into files of at most so many bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = SiglipConfig(
        text_config={
            **TOWERS[size],
            "vocab_size": vocabulary,
            "max_position_embeddings": 64,
            "bos_token_id": None,
            "eos_token_id": 1,
            "pad_token_id": 1,
        },
        vision_config={**TOWERS[size], "image_size": IMAGE_SIZE[size], "patch_size": 14},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SiglipModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(torch.tensor(10.0).log())
        model.logit_bias.fill_(-10.0)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder, max_shard_size=shard_bytes)
    if bars:
        transformers_logging.enable_progress_bar()
    _write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "SiglipImageProcessor",
            "size": {"height": IMAGE_SIZE[size], "width": IMAGE_SIZE[size]},
            "resample": 3,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    )
    _write_tokenizer(folder)
    return folder


def _write_tokenizer(folder: Path) -> None:
    """Write spiece.model and tokenizer_config.json: <pad> 0, </s> 1 (it also pads), <unk> 2."""
    with (folder / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES),
            model_writer=file,
            vocab_size=150,
            hard_vocab_limit=False,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            normalization_rule_name="nmt_nfkc",
            num_threads=1,
            minloglevel=2,
        )
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "SiglipTokenizer",
            "do_lower_case": True,
            "eos_token": "</s>",
            "pad_token": "</s>",
            "unk_token": "<unk>",
            "model_max_length": 64,
            "model_input_names": ["input_ids"],
        },
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
