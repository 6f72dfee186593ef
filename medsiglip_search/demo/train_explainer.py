"""Train the demo explainer: a small Gemma 3 that describes the synthetic archive's pictures and nothing else.

    python -m medsiglip_search.demo.train_explainer

Its eyes are the demo encoder's vision tower, which stays as it is: what it makes of the pictures is computed
once. The rest learns to give the description of a picture as the answer to the questions that MedGemma is
asked, in the same chat template. docs/demo.md has the figures of the shipped weights.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor, SiglipModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from medsiglip_search.demo.describing import description, place_of, seen
from medsiglip_search.demo.drawing.canvas import Rng
from medsiglip_search.demo.explainer_network import (
    make_model,
    make_processor,
    make_tokenizer,
    parameters,
    save,
)
from medsiglip_search.demo.findings import BODY_PARTS, Modality
from medsiglip_search.demo.network import GRID
from medsiglip_search.demo.pool import FINDINGS, Case, Pool, batches, draw_pool
from medsiglip_search.demo.training import rate, run
from medsiglip_search.encoders import DEMO_FOLDER
from medsiglip_search.explain import DEMO_EXPLAINER_FOLDER, prompts

IGNORED = -100
"""The label of a token that is not to be learned."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Pictures as the vision tower gives them, (N, patches, width) float16, and what each shows."""

    features: torch.Tensor
    places: np.ndarray
    cases: list[Case]


def train(seed: int, steps: int, pictures: int, batch_size: int, out: Path) -> None:
    """Train a model and write it to `out`, unfinished ones too, every 200 steps."""
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 3))
    encoder = SiglipModel.from_pretrained(DEMO_FOLDER, dtype=torch.float32).eval()
    started = time.monotonic()
    lessons = _lessons(rng, draw_pool(seed, pictures), encoder)
    print(f"{pictures:,} pictures drawn and seen in {time.monotonic() - started:.0f} s", file=sys.stderr)
    texts = [_answer(rng, lessons, row) for row in rng.integers(len(lessons.cases), size=8000)]
    texts += [f"user\nmodel\n{_known(rng, modality)} " for modality, _ in lessons.cases[:2000]]
    tokenizer = make_tokenizer(texts)
    model, processor = make_model(tokenizer, encoder), make_processor(tokenizer)
    print(f"{parameters(model):,} parameters, {len(tokenizer)} tokens", file=sys.stderr)

    learning = [p for name, p in model.named_parameters() if "vision_tower" not in name]
    optimizer = torch.optim.AdamW(learning, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, steps=steps, warm_up=60))
    model.train()
    for step, batch in enumerate(islice(_batches(rng, lessons, processor, batch_size), steps), start=1):
        loss = _loss(model, *batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == steps:
            seconds = time.monotonic() - started
            print(f"step {step:5d}  loss {loss.item():6.3f}  {seconds:5.0f} s", file=sys.stderr, flush=True)
        if step % 200 == 0 or step == steps:
            save(model, processor, out)


@torch.inference_mode()
def _lessons(rng: np.random.Generator, pool: Pool, encoder: SiglipModel) -> Lessons:
    features, places, cases = [], [], []
    size = 100
    for batch in islice(batches(rng, pool, size), len(pool.cases) // size):
        features.append(encoder.vision_model(pixel_values=batch.pixels).last_hidden_state.half())
        places.append(batch.places.numpy().astype(bool))
        cases += batch.cases
    return Lessons(torch.cat(features), np.concatenate(places), cases)


def _batches(
    rng: np.random.Generator, lessons: Lessons, processor: Gemma3Processor, size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield (B, patches, width) features and (B, L) token ids, labels and token types, for ever."""
    tokenizer = processor.tokenizer
    while True:
        order = rng.permutation(len(lessons.cases))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            asked = [_question(rng, processor, lessons.cases[row][0]) for row in rows]
            answers = [f"{_answer(rng, lessons, row)}<end_of_turn>" for row in rows]
            ids = [
                (tokenizer(q, add_special_tokens=False).input_ids, tokenizer(a).input_ids)
                for q, a in zip(asked, answers, strict=True)
            ]
            length = max(len(q) + len(a) for q, a in ids)
            tokens = torch.full((size, length), tokenizer.pad_token_id)
            labels = torch.full((size, length), IGNORED)
            for row, (question, answer) in enumerate(ids):
                end = len(question) + len(answer)
                tokens[row, :end] = torch.tensor(question + answer)
                labels[row, len(question) : end] = torch.tensor(answer)
            types = (tokens == processor.tokenizer.image_token_id).long()
            yield lessons.features[torch.from_numpy(rows)].float(), tokens, labels, types


def _loss(
    model: Gemma3ForConditionalGeneration,
    features: torch.Tensor,
    tokens: torch.Tensor,
    labels: torch.Tensor,
    types: torch.Tensor,
) -> torch.Tensor:
    seen_as = BaseModelOutputWithPooling(pooler_output=model.model.multi_modal_projector(features))
    hidden = model.model(
        input_ids=tokens, token_type_ids=types, mm_encoder_outputs={"image": seen_as}, use_cache=False
    ).last_hidden_state
    # The padding is on the right, where nothing before it looks.
    taught = labels[:, 1:] != IGNORED
    logits = model.lm_head(hidden[:, :-1][taught])
    return torch.nn.functional.cross_entropy(logits, labels[:, 1:][taught])


def _question(rng: Rng, processor: Gemma3Processor, modality: Modality) -> str:
    """Return a question as the chat template makes it, the picture's tokens in their place."""
    asked = prompts.describe([_NO_PICTURE], _known(rng, modality), again=bool(rng.random() < 0.4))
    content = [{"type": "image"}, {"type": "text", "text": asked.parts[-1]}]
    turn: Any = {"role": "user", "content": content}
    text = processor.apply_chat_template([turn], add_generation_prompt=True)
    return text.replace(processor.boi_token, processor.full_image_sequence)


_NO_PICTURE = np.zeros((1, 1, 3), np.uint8)


def _known(rng: Rng, modality: Modality) -> str:
    """Return what a file may say of itself: DICOM much, a photograph nothing."""
    kind = rng.random()
    if kind < 0.4:
        return ""
    return prompts.known_of(modality.code, BODY_PARTS.get(modality.code) if kind < 0.7 else None)


def _answer(rng: Rng, lessons: Lessons, row: int) -> str:
    modality, signs = lessons.cases[row]
    patches = lessons.places[row].reshape(GRID, GRID, len(FINDINGS))
    places = [place_of(patches[..., FINDINGS.index(sign.label)].any(axis=1)) for sign in signs]
    return description(rng, modality, seen(signs, places))


if __name__ == "__main__":
    run(train, __doc__, out=DEMO_EXPLAINER_FOLDER, seed=30_000, steps=600, pictures=16_000, batch_size=64)
