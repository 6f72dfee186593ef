"""Queries to embeddings: what comes to the text tower's bare pass, and whether the numbers are SigLIP's."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from transformers import SiglipModel

from benchmarks.encode_images import LEAST_COSINE
from benchmarks.encode_inputs import Task
from benchmarks.figures import Figure
from benchmarks.timing import paired, seconds
from medsiglip_search.devices import multiplies_bf16
from medsiglip_search.encoders.calibration import least_cosine
from medsiglip_search.encoders.precision import DTYPES
from medsiglip_search.encoders.preprocess import preprocess
from medsiglip_search.encoders.siglip import SiglipEncoder
from medsiglip_search.encoders.torch_calls import unit
from medsiglip_search.terminal import note
from medsiglip_search.transformers_notices import quiet

COMPARED = [
    "left pleural effusion",
    "no acute cardiopulmonary process",
    "head CT with a right subdural hematoma and midline shift",
    "fundus photograph with severe diabetic retinopathy",
]
PICTURES_COMPARED = 2
OVER_BARE, OVER_KNOWN = 1.3, 100
KNOWN_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Expected:
    """What SiglipModel in float32 gives. texts: (T, D), of norm 1. logits: (pictures, T)."""

    texts: np.ndarray
    logits: np.ndarray


def texts(task: Task) -> Iterator[Figure]:
    """Measure one query, new and known; compare texts and zero-shot logits with SiglipModel."""
    note("SiglipModel, fp32: the texts and logits that ours are compared with")
    expected = _expected(task)
    for precision in ("fp32", *(["bf16"] if multiplies_bf16(task.device) else [])):
        note(f"texts, {precision}")
        encoder = task.load(precision)
        yield from _speed(task, encoder, precision)
        embedded = encoder.embed_texts(COMPARED)
        cosine = least_cosine(embedded, expected.texts)
        yield Figure(f"texts, {precision}: least cosine", cosine, "", LEAST_COSINE[precision], digits=6)
        pictures = encoder.embed_images(task.pictures[:PICTURES_COMPARED])
        logits = encoder.scale * pictures @ embedded.T + encoder.bias
        most = float(np.abs(logits - expected.logits).max())
        yield Figure(f"zero-shot logits, {precision}: largest difference", most, "", digits=6)
        del encoder
        gc.collect()


@torch.inference_mode()
def _expected(task: Task) -> Expected:
    ids = task.load("fp32").tokenize(COMPARED).to(task.device)
    with quiet():
        model = SiglipModel.from_pretrained(
            task.checkpoint.folder, dtype=torch.float32, local_files_only=True
        )
    model = model.eval().to(task.device)
    pixels = preprocess(task.pictures[:PICTURES_COMPARED], task.checkpoint.spec, task.device)
    given = model(input_ids=ids, pixel_values=pixels)
    return Expected(unit(given.text_embeds), given.logits_per_image.cpu().numpy())


def _speed(task: Task, encoder: SiglipEncoder, precision: str) -> Iterator[Figure]:
    rounds = max(5, task.rounds)
    queries = [f"chest radiograph number {number} with left pleural effusion" for number in range(rounds + 1)]
    ids = [encoder.tokenize([query]).to(task.device) for query in queries]
    tower = task.checkpoint.load_text(DTYPES[precision], task.device)
    new, tokenized = iter(queries), iter(ids)

    def bare() -> torch.Tensor:
        with torch.inference_mode():
            return tower(input_ids=next(tokenized)).pooler_output.cpu()

    pair = paired(lambda: encoder.embed_texts([next(new)]), bare, rounds)
    details = {"text": precision, "new_s": pair.first_s, "bare_s": pair.second_s}
    yield Figure(f"a new query, {precision}", pair.first_s * 1e3, "ms", details=details)
    below = task.bound(OVER_BARE)
    yield Figure(f"a new query, {precision}: over the bare pass", pair.ratio, "", below=below)

    def known() -> None:
        for _ in range(KNOWN_AT_ONCE):
            encoder.embed_texts(queries[:1])

    known_s = seconds(known) / KNOWN_AT_ONCE
    yield Figure(f"a known query, {precision}", known_s * 1e6, "us")
    at_least = task.bound(OVER_KNOWN)
    yield Figure(f"a known query, {precision}: times as fast as new", pair.first_s / known_s, "", at_least)
