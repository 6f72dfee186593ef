"""Train the demo encoder: a small SigLIP that knows the synthetic archive's pictures and nothing else.

    python -m medsiglip_search.demo.train

The loss is SigLIP's (arXiv 2303.15343), with each pair of a text and a picture that it is true of as a
positive: here a text is true of many. Beside it the patches learn which finding lies in them, through a
linear layer that is thrown away afterwards; without it the vision tower stays for very long at telling
modalities apart.
docs/demo.md has the figures of the shipped weights.
"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import SiglipModel

from medsiglip_search.demo.network import WIDTH, make_model, make_tokenizer, save, tokenize
from medsiglip_search.demo.pool import FINDINGS, batches, draw_pool
from medsiglip_search.demo.training import rate, run
from medsiglip_search.demo.wording import canonical, statement, truth
from medsiglip_search.encoders import DEMO_FOLDER

PLACE_WEIGHT = 20.0


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
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, steps=steps, warm_up=100))
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


def sigmoid_loss(logits: torch.Tensor, positive: torch.Tensor) -> torch.Tensor:
    """Return SigLIP's loss, a scalar. logits, positive: (texts, pictures)."""
    signs = positive.float() * 2 - 1
    return -torch.nn.functional.logsigmoid(signs * logits).sum() / logits.shape[1]


def place_loss(logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return how wrongly the patches name the findings in them, a scalar. Both: (B, patches, findings)."""
    errors = torch.nn.functional.binary_cross_entropy_with_logits(logits, places, reduction="none")
    return errors.sum(dim=-1).mean()


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


if __name__ == "__main__":
    run(train, __doc__, out=DEMO_FOLDER, seed=20_000, steps=2500, pictures=24_000, batch_size=96)
