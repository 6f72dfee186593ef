"""Train the demo encoder: a small SigLIP that knows the synthetic archive's pictures and nothing else.

    python -m medsiglip_search.demo.train

The loss is SigLIP's (arXiv 2303.15343) with one change: a batch holds many pictures that a text is true of,
and each such pair is a positive. docs/demo.md has the figures of the shipped weights.
"""

import argparse
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

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel

from medsiglip_search.demo.cases import draw_signs, render
from medsiglip_search.demo.drawing import DRAW
from medsiglip_search.demo.findings import MODALITIES, Modality, Sign
from medsiglip_search.demo.wording import statement, truth
from medsiglip_search.encoders.preprocess import pad_square, resize
from medsiglip_search.records import PreprocessSpec

SIZE, PATCH, TEXT_TOKENS, PIECES = 112, 14, 32, 700
SPEC = PreprocessSpec(size=SIZE)
WEIGHTS = Path(__file__).parent / "weights"

# All that is neither letter nor digit goes, as in the tokenizer of MedSigLIP.
_PUNCTUATION = Regex(r"""[!"#$%&'()*+,\-.:;=?@\[\\\]^_`{|}~]""")

Case = tuple[Modality, tuple[Sign, ...]]


@dataclass(frozen=True, slots=True)
class Pool:
    """Drawn pictures to learn from. pixels: (N, SIZE, SIZE, 3) uint8; cases: what each shows."""

    pixels: np.ndarray
    cases: list[Case]


def draw_pool(seed: int, pictures: int) -> Pool:
    """Return that many pictures, each of its own anatomy, as the encoder will get them."""
    seeds = [(seed, chunk) for chunk in range(math.ceil(pictures / 250))]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as workers:
        chunks = list(workers.map(partial(_draw_chunk, pictures=250), seeds))
    pixels = np.concatenate([pixels for pixels, _ in chunks])[:pictures]
    return Pool(pixels, [case for _, cases in chunks for case in cases][:pictures])


def _draw_chunk(seed: tuple[int, int], pictures: int) -> tuple[np.ndarray, list[Case]]:
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    cards = [(modality, finding) for modality in MODALITIES for finding in (None, *modality.findings)]
    pixels = np.empty((pictures, SIZE, SIZE, 3), np.uint8)
    cases: list[Case] = []
    for row in range(pictures):
        modality, finding = cards[rng.integers(len(cards))]
        signs = draw_signs(rng, modality, finding)
        values, _ = DRAW[modality.code](rng, rng, signs)
        picture = render(modality.code, values)
        if modality.code == "OP" and rng.random() < 0.25:
            picture = np.repeat(picture[..., 1:2], 3, axis=2)  # red-free, as the archive's grey photographs
        pixels[row] = resize(pad_square(picture), SPEC).numpy()
        cases.append((modality, signs))
    return pixels, cases


def make_tokenizer(rng: np.random.Generator) -> Tokenizer:
    """Return a tokenizer with the normalisation and the special tokens of MedSigLIP's, learned from the wording.

    Byte pair encoding, not a unigram model: with a few hundred distinct words the unigram trainer keeps letters.
    """
    cards = [(modality, finding) for modality in MODALITIES for finding in (None, *modality.findings)]
    texts = []
    for _ in range(20_000):
        modality, finding = cards[rng.integers(len(cards))]
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
    width = {"hidden_size": 160, "intermediate_size": 640, "num_attention_heads": 5}
    text = width | {
        "num_hidden_layers": 2,
        "vocab_size": pieces,
        "max_position_embeddings": TEXT_TOKENS,
        "projection_size": 160,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    vision = width | {"num_hidden_layers": 6, "image_size": SIZE, "patch_size": PATCH}
    # Eager attention: at 64 tokens the fused kernel's backward pass takes a third of a step on the CPU.
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision, attn_implementation="eager"))
    with torch.no_grad():
        # From zero, where transformers starts them, the loss does not learn.
        model.logit_scale.fill_(math.log(10))
        model.logit_bias.fill_(-10)
    return model


def sigmoid_loss(logits: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Return SigLIP's loss, a scalar. logits, positive: (texts, pictures)."""
    signs = positive.float() * 2 - 1
    return -torch.nn.functional.logsigmoid(signs * logits).sum() / logits.shape[1]


def batches(rng: np.random.Generator, pool: Pool, size: int) -> Iterator[tuple[torch.Tensor, list[Case]]]:
    """Yield (pixels (size, 3, SIZE, SIZE) float32 in -1..1, cases) for ever, a little shifted and exposed."""
    while True:
        order = rng.permutation(len(pool.cases))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            pixels = torch.from_numpy(pool.pixels[rows]).permute(0, 3, 1, 2).float()
            for row in range(size):
                down, across = (int(v) for v in rng.integers(-5, 6, 2))
                pixels[row] = _shift(pixels[row], down, across)
            contrast = torch.from_numpy(rng.uniform(0.9, 1.1, (size, 1, 1, 1)).astype(np.float32))
            brightness = torch.from_numpy(rng.uniform(-12, 12, (size, 1, 1, 1)).astype(np.float32))
            pixels = (pixels * contrast + brightness * (pixels > 0)).clamp(0, 255)
            yield pixels / 127.5 - 1, [pool.cases[row] for row in rows]


def _shift(picture: torch.Tensor, down: int, across: int) -> torch.Tensor:
    """Return (3, H, W) moved by so many pixels, black where nothing was."""
    moved = torch.zeros_like(picture)
    height, width = picture.shape[1:]
    target = (slice(max(0, down), height + min(0, down)), slice(max(0, across), width + min(0, across)))
    source = (slice(max(0, -down), height + min(0, -down)), slice(max(0, -across), width + min(0, -across)))
    moved[:, target[0], target[1]] = picture[:, source[0], source[1]]
    return moved


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Return (N, TEXT_TOKENS) int64, padded with </s>."""
    tokenizer.enable_truncation(TEXT_TOKENS)
    tokenizer.enable_padding(pad_id=1, pad_token="</s>", length=TEXT_TOKENS)
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(texts))])


def train(seed: int, steps: int, pictures: int, batch_size: int) -> tuple[SiglipModel, Tokenizer]:
    """Return the trained model and its tokenizer."""
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 1))
    tokenizer = make_tokenizer(rng)
    model = make_model(tokenizer.get_vocab_size())
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, drawing {pictures:,} pictures", file=sys.stderr)
    started = time.monotonic()
    pool = draw_pool(seed, pictures)
    print(f"drawn in {time.monotonic() - started:.0f} s", file=sys.stderr)

    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=1e-3, betas=(0.9, 0.98)
    )
    warm_up = 200
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * max(0, step - warm_up) / (steps - warm_up))),
    )
    model.train()
    for step, (pixels, cases) in zip(range(steps), batches(rng, pool, batch_size), strict=False):
        said = [statement(rng, *case) for case in cases for _ in range(2)]
        positive = torch.from_numpy(truth(said, cases))
        tokens = tokenize(tokenizer, [each.text for each in said])
        with torch.autocast("cpu", torch.bfloat16):
            output = model(input_ids=tokens, pixel_values=pixels)
        loss = sigmoid_loss(output.logits_per_text.float(), positive)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            seconds = time.monotonic() - started
            print(f"step {step:5d}  loss {loss.item():7.3f}  {seconds:5.0f} s", file=sys.stderr, flush=True)
    return model.eval(), tokenizer


def save(model: SiglipModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the checkpoint in the layout of google/medsiglip-448, fp16."""
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(folder)
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
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "SiglipImageProcessor", "size": {"height": %d, "width": %d}, '
        '"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}\n' % (SIZE, SIZE)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--pictures", type=int, default=24_000)
    parser.add_argument("--batch-size", type=int, default=96)
    args = parser.parse_args()
    model, tokenizer = train(args.seed, args.steps, args.pictures, args.batch_size)
    save(model, tokenizer, args.out)
    print(f"wrote {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
