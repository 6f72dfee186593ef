"""The demo encoder before training: its shape, its tokenizer, and the files it is saved in."""

import copy
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel

from medsiglip_search.demo.cases import CARDS, draw_signs
from medsiglip_search.demo.wording import statement
from medsiglip_search.records import PreprocessSpec

SIZE, PATCH, WIDTH, TEXT_TOKENS, PIECES = 112, 14, 160, 32, 700
GRID = SIZE // PATCH
SPEC = PreprocessSpec(size=SIZE)

# All that is neither letter nor digit goes, as in the tokenizer of MedSigLIP.
_PUNCTUATION = Regex(r"""[!"#$%&'()*+,\-.:;=?@\[\\\]^_`{|}~]""")


def make_tokenizer(rng: np.random.Generator) -> Tokenizer:
    """Return a tokenizer with the normalisation and special tokens of MedSigLIP's, learned from the wording.

    Byte pair encoding, not a unigram model, whose trainer keeps letters of so few distinct words.
    """
    texts = []
    for _ in range(20_000):
        modality, finding = CARDS[rng.integers(len(CARDS))]
        texts.append(statement(rng, modality, draw_signs(rng, modality, finding)).text)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(_PUNCTUATION, ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=PIECES,
            special_tokens=["<pad>", "</s>", "<unk>"],
            initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789"),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Return (N, TEXT_TOKENS) int64, padded with </s>."""
    tokenizer.enable_truncation(TEXT_TOKENS)
    tokenizer.enable_padding(pad_id=1, pad_token="</s>", length=TEXT_TOKENS)
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(texts))])


def make_model(pieces: int) -> SiglipModel:
    """Return an untrained SigLIP of 3 million parameters."""
    width = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 5}
    text = width | {
        "num_hidden_layers": 2,
        "vocab_size": pieces,
        "max_position_embeddings": TEXT_TOKENS,
        "projection_size": WIDTH,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    vision = width | {"num_hidden_layers": 6, "image_size": SIZE, "patch_size": PATCH}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    # At 64 tokens the fused kernel's backward pass takes a third of a step on the CPU.
    model.set_attn_implementation("eager")
    with torch.no_grad():
        # From zero, where transformers starts them, the loss does not learn.
        model.logit_scale.fill_(math.log(10))
        model.logit_bias.fill_(-10)
        # transformers' random start is so faint that left and right were still alike after 1,000 steps.
        model.vision_model.embeddings.position_embedding.weight.copy_(_positions(WIDTH))
    return model


def _positions(width: int) -> torch.Tensor:
    """Return (GRID * GRID, width) sines and cosines of each patch's row and column (arXiv 2205.01580)."""
    frequency = 1 / 100 ** torch.linspace(0, 1, width // 4)
    row, column = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    waves = [
        wave(axis.reshape(-1, 1) * frequency) for axis in (column, row) for wave in (torch.sin, torch.cos)
    ]
    return torch.cat(waves, dim=1)


def save(model: SiglipModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the checkpoint in the layout of google/medsiglip-448, fp16."""
    shutil.rmtree(folder, ignore_errors=True)
    copy.deepcopy(model).half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # transformers leaves it readable to its owner alone
    tokenizer.no_padding()
    tokenizer.no_truncation()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        model_max_length=TEXT_TOKENS,
        model_input_names=["input_ids"],
    ).save_pretrained(folder)
    preprocessing = {
        "image_processor_type": "SiglipImageProcessor",
        "size": {"height": SIZE, "width": SIZE},
        "image_mean": SPEC.mean,
        "image_std": SPEC.std,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2) + "\n")
