"""Train the demo encoder: a small SigLIP that knows the synthetic archive's pictures and nothing else.

    python -m medsiglip_search.demo.train

The loss is SigLIP's (arXiv 2303.15343), with each pair of a text and a picture that it is true of as a
positive: here a text is true of many. Beside it the patches learn which finding lies in them, through a
linear layer that is thrown away afterwards; without it the vision tower stays for very long at telling
modalities apart.
docs/demo.md has the figures of the shipped weights.
"""

import argparse
import copy
import json
import math
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel
from transformers.utils import logging

from medsiglip_search.demo.cases import CARDS, draw_signs, render
from medsiglip_search.demo.drawing import DRAW
from medsiglip_search.demo.drawing.canvas import Box
from medsiglip_search.demo.findings import MODALITIES, SIDES, Modality, Sign
from medsiglip_search.demo.wording import canonical, statement, truth
from medsiglip_search.encoders.preprocess import pad_square, resize
from medsiglip_search.records import PreprocessSpec

SIZE, PATCH, WIDTH, TEXT_TOKENS, PIECES = 112, 14, 160, 32, 700
GRID = SIZE // PATCH
SPEC = PreprocessSpec(size=SIZE)
WEIGHTS = Path(__file__).parent / "weights"
PLACE_WEIGHT = 20.0
FINDINGS = [
    f"{side}{finding.name}"
    for modality in MODALITIES
    for finding in modality.findings
    for side in ("", *((f"{side} " for side in SIDES) if finding.sided else ()))
]
"""What a patch is taught to name: each finding, and on its side where it has one."""


# All that is neither letter nor digit goes, as in the tokenizer of MedSigLIP.
_PUNCTUATION = Regex(r"""[!"#$%&'()*+,\-.:;=?@\[\\\]^_`{|}~]""")

Case = tuple[Modality, tuple[Sign, ...]]


@dataclass(frozen=True, slots=True)
class Pool:
    """Drawn pictures to learn from.

    pixels: (N, SIZE, SIZE, 3) uint8.
    places: (N, GRID, GRID, findings) bool, in which patches each finding is.
    cases: what each shows.
    """

    pixels: np.ndarray
    places: np.ndarray
    cases: list[Case]


def draw_pool(seed: int, pictures: int) -> Pool:
    """Return that many pictures, each of its own anatomy, as the encoder will get them."""
    seeds = [(seed, chunk) for chunk in range(math.ceil(pictures / 250))]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as workers:
        chunks = list(workers.map(partial(_draw_chunk, pictures=250), seeds))
    pixels = np.concatenate([chunk.pixels for chunk in chunks])[:pictures]
    places = np.concatenate([chunk.places for chunk in chunks])[:pictures]
    return Pool(pixels, places, [case for chunk in chunks for case in chunk.cases][:pictures])


def _draw_chunk(seed: tuple[int, int], pictures: int) -> Pool:
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    pixels = np.empty((pictures, SIZE, SIZE, 3), np.uint8)
    places = np.zeros((pictures, GRID, GRID, len(FINDINGS)), bool)
    cases: list[Case] = []
    for row in range(pictures):
        modality, finding = CARDS[rng.integers(len(CARDS))]
        signs = draw_signs(rng, modality, finding)
        values, boxes = DRAW[modality.code](rng, rng, signs)
        picture = render(modality.code, values)
        if modality.code == "OP" and rng.random() < 0.25:
            picture = np.repeat(picture[..., 1:2], 3, axis=2)  # red-free, as the archive's grey photographs
        pixels[row] = resize(pad_square(picture), SPEC).numpy()
        for sign, box in zip(signs, boxes, strict=True):
            for name in {sign.finding, sign.label}:
                places[row, *_patches(box, picture.shape), FINDINGS.index(name)] = True
        cases.append((modality, signs))
    return Pool(pixels, places, cases)


def _patches(box: Box | None, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of the patches that a box of a picture covers; all without a box."""
    if box is None:
        return slice(None), slice(None)
    rows, columns = shape[:2]
    side = max(rows, columns)
    x0, y0, x1, y1 = (edge * GRID / side for edge in box)
    right, down = (side - columns) // 2 * GRID / side, (side - rows) // 2 * GRID / side
    return slice(int(y0 + down), math.ceil(y1 + down)), slice(int(x0 + right), math.ceil(x1 + right))


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


def sigmoid_loss(logits: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Return SigLIP's loss, a scalar. logits, positive: (texts, pictures)."""
    signs = positive.float() * 2 - 1
    return -torch.nn.functional.logsigmoid(signs * logits).sum() / logits.shape[1]


@dataclass(frozen=True, slots=True)
class Batch:
    """pixels: (B, 3, SIZE, SIZE) float32 in -1..1. places: (B, patches, findings) float32, 0 or 1."""

    pixels: torch.Tensor
    places: torch.Tensor
    cases: list[Case]


def batches(rng: np.random.Generator, pool: Pool, size: int) -> Iterator[Batch]:
    """Yield batches for ever, each picture a little shifted and exposed in its own way."""
    while True:
        order = rng.permutation(len(pool.cases))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            pixels = torch.from_numpy(pool.pixels[rows]).permute(0, 3, 1, 2).float()
            for row, (down, across) in enumerate(rng.integers(-2, 3, (size, 2)).tolist()):
                pixels[row] = _shift(pixels[row], down, across)
            contrast = torch.from_numpy(rng.uniform(0.9, 1.1, (size, 1, 1, 1)).astype(np.float32))
            brightness = torch.from_numpy(rng.uniform(-12, 12, (size, 1, 1, 1)).astype(np.float32))
            pixels = (pixels * contrast + brightness * (pixels > 0)).clamp(0, 255)
            places = torch.from_numpy(pool.places[rows]).flatten(1, 2).float()
            yield Batch(pixels / 127.5 - 1, places, [pool.cases[row] for row in rows])


def _shift(picture: torch.Tensor, down: int, across: int) -> torch.Tensor:
    """Return (3, H, W) moved by so many pixels, black where nothing was."""
    moved = torch.zeros_like(picture)
    height, width = picture.shape[1:]
    target = (slice(max(0, down), height + min(0, down)), slice(max(0, across), width + min(0, across)))
    source = (slice(max(0, -down), height + min(0, -down)), slice(max(0, -across), width + min(0, -across)))
    moved[:, target[0], target[1]] = picture[:, source[0], source[1]]
    return moved


def place_loss(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return how wrongly the patches name the findings in them, a scalar. Both: (B, patches, findings)."""
    errors = torch.nn.functional.binary_cross_entropy_with_logits(logits, places, reduction="none")
    return errors.sum(dim=-1).mean()


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Return (N, TEXT_TOKENS) int64, padded with </s>."""
    tokenizer.enable_truncation(TEXT_TOKENS)
    tokenizer.enable_padding(pad_id=1, pad_token="</s>", length=TEXT_TOKENS)
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(texts))])


def train(seed: int, steps: int, pictures: int, batch_size: int, out: Path) -> None:
    """Train a model and write it to `out`, unfinished ones too, every 500 steps."""
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 1))
    tokenizer = make_tokenizer(rng)
    model = make_model(tokenizer.get_vocab_size())
    locate = torch.nn.Linear(WIDTH, len(FINDINGS))
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, drawing {pictures:,} pictures",
        file=sys.stderr,
    )
    started = time.monotonic()
    pool = draw_pool(seed, pictures)
    print(f"drawn in {time.monotonic() - started:.0f} s", file=sys.stderr)

    optimizer = _optimizer(model, locate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, steps=steps, warm_up=100))
    model.train()
    for step, batch in zip(range(1, steps + 1), batches(rng, pool, batch_size), strict=False):
        said = [statement(rng, *case) for case in batch.cases] + canonical(rng)
        positive = torch.from_numpy(truth(said, batch.cases))
        tokens = tokenize(tokenizer, [each.text for each in said])
        with torch.autocast("cpu", torch.bfloat16):
            output = model(input_ids=tokens, pixel_values=batch.pixels)
        matched = sigmoid_loss(output.logits_per_text.float(), positive)
        placed = place_loss(locate(output.vision_model_output.last_hidden_state.float()), batch.places)
        optimizer.zero_grad(set_to_none=True)
        (matched + PLACE_WEIGHT * placed).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            losses = f"match {matched.item():7.3f}  place {placed.item():6.3f}"
            print(
                f"step {step:5d}  {losses}  {time.monotonic() - started:5.0f} s", file=sys.stderr, flush=True
            )
        if step % 500 == 0 or step == steps:
            save(model, tokenizer, out)


def _optimizer(model: SiglipModel, locate: torch.nn.Linear) -> torch.optim.Optimizer:
    pair_logit = [model.logit_scale, model.logit_bias]
    rest = [p for p in model.parameters() if not any(p is other for other in pair_logit)]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in rest if p.ndim <= 1] + list(locate.parameters())},
        # Both start for one positive among very many; here a tenth of the pairs is, so they have far to go.
        {"params": pair_logit, "lr": 1e-2},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)


def _rate(step: int, steps: int, warm_up: int) -> float:
    """Return the learning rate's factor: a linear rise, then a cosine down to 0."""
    progress = max(0, step - warm_up) / max(1, steps - warm_up)
    return min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * progress))


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--pictures", type=int, default=24_000)
    parser.add_argument("--batch-size", type=int, default=96)
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    train(args.seed, args.steps, args.pictures, args.batch_size, args.out)
    print(f"wrote {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
