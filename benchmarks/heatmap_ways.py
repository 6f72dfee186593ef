"""Ways to tell where a picture answers a text: `python -m benchmarks.heatmap_ways`.

    pooling head   cosine of the text with what the head says of each patch alone
    gradient       how the cosine of the picture depends on the head's attention, or on its tokens
    occlusion      how much the cosine falls when patches are covered

On synthetic pictures of unseen seeds with the demo encoder: the share of findings whose box has the hottest
pixel in it. Of findings with a box of at most half the picture, the text being the finding with its side.
Chance is the mean share of the picture that these boxes take. The way that the product takes is held to its
bounds; occlusion takes seconds a picture and is tried on some findings only, spread over all.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.figures import Figure, report, require_all
from medsiglip_search.demo.cases import draw_study, plan, render, without_side
from medsiglip_search.demo.findings import Modality
from medsiglip_search.encoders import load_encoder
from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.encoders.patches import attended, read_out
from medsiglip_search.encoders.preprocess import preprocess
from medsiglip_search.encoders.siglip import SiglipEncoder
from medsiglip_search.explain.heatmap import Box, half_patch_views, heatmap, joined, smoothed, spread

UNSEEN_SEEDS = (411, 512, 613)
IMAGES = 600
LARGEST = 0.5
"""Of the picture's area: a finding with a larger box is nowhere in particular."""
AT_LEAST, SECONDS = 0.8, 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """A finding in a picture, and the share of the picture that its box takes."""

    image: np.ndarray
    modality: Modality
    label: str
    box: Box
    share: float


Way = Callable[[SiglipEncoder, Case], np.ndarray]
"""Returns (H, W) values of the picture's size."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=UNSEEN_SEEDS)
    parser.add_argument("--occluded", type=int, default=150, help="how many findings occlusion is tried on")
    parser.add_argument("--ways", default="", help="only those whose name begins so, such as product")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = load_encoder("demo", "cpu")
    assert isinstance(encoder, SiglipEncoder)
    sections = (_of_seed(seed, encoder, options.occluded, options.ways) for seed in options.seeds)
    require_all(report(sections, ("torch", "transformers"), options.json))


def cases(seed: int) -> list[Case]:
    """Return the findings with a place in the pictures of a seed."""
    found = []
    for study in plan(seed, IMAGES):
        for drawing in draw_study(study):
            image = render(study.modality.code, drawing.values)
            for sign, box in zip(study.signs, drawing.boxes, strict=True):
                if box:
                    share = (box[2] - box[0]) * (box[3] - box[1]) / image[..., 0].size
                    found.append(Case(image, study.modality, sign.label, box, share))
    return [case for case in found if case.share <= LARGEST]


def _of_seed(seed: int, encoder: SiglipEncoder, occluded: int, ways: str) -> Iterator[Figure]:
    found = cases(seed)
    yield Figure(f"seed {seed}: local findings", len(found), "")
    yield Figure(f"seed {seed}: chance", float(np.mean([case.share for case in found])), "share")
    for name, way in WAYS.items():
        some = found
        if name.startswith("occlusion"):
            some = found[:: -(-len(found) // occluded)] if occluded else []
        if not some or not name.startswith(ways):
            continue
        start = time.perf_counter()
        right = [_holds(case.box, way(encoder, case)) for case in some]
        seconds = (time.perf_counter() - start) / len(some)
        bounds = (AT_LEAST, SECONDS) if name.startswith("product") else (None, None)
        yield Figure(f"seed {seed}: {name} ({len(some)})", float(np.mean(right)), "share", at_least=bounds[0])
        yield Figure(f"seed {seed}: {name}, each", seconds, "s", below=bounds[1])
        if name.startswith("product"):
            yield from _worst(seed, some, right)


def _worst(seed: int, found: list[Case], right: list[bool]) -> Iterator[Figure]:
    """Yield the figures of the findings that are not always found, the worst first."""
    by_finding = defaultdict(list)
    for case, hit in zip(found, right, strict=True):
        by_finding[without_side(case.label)].append(hit)
    shares = sorted((float(np.mean(hits)), name, len(hits)) for name, hits in by_finding.items())
    for share, same in groupby(shares, itemgetter(0)):
        names = [f"{name} ({count})" for _, name, count in same]
        yield from (
            [Figure(f"seed {seed}:   {name}", share, "share") for name in names]
            if share < 1
            else [Figure(f"seed {seed}:   findings always found", len(names), f"of {len(shares)}")]
        )


def _holds(box: Box, values: np.ndarray) -> bool:
    y, x = np.unravel_index(values.argmax(), values.shape)
    return bool(box[0] <= x < box[2] and box[1] <= y < box[3])


# Each way below turns the four views of a picture, moved by half a patch, or the one, into scores of patches.


def _placed(scores: np.ndarray, encoder: SiglipEncoder, case: Case, smooth: bool) -> np.ndarray:
    """Return (H, W) from (1 or 4, R, R) scores."""
    cells = joined(scores) if len(scores) == 4 else scores[0].repeat(2, axis=0).repeat(2, axis=1)
    return spread(smoothed(cells) if smooth else cells, case.image.shape[:2], encoder.spec)


def _views(encoder: SiglipEncoder, case: Case, views: int) -> list[np.ndarray]:
    return half_patch_views(fitted(case.image, encoder.spec), encoder.patch_rows)[:views]


def _head(views: int, smooth: bool = True, minus: str = "") -> Way:
    """minus: "normal" for the modality's normal picture, "name" for its name."""

    def way(encoder: SiglipEncoder, case: Case) -> np.ndarray:
        text = encoder.embed_texts([case.label])
        if minus:
            text = text - encoder.embed_texts(
                [case.modality.normal[0] if minus == "normal" else case.modality.name]
            )
        cosines, _ = encoder.patch_scores(_views(encoder, case, views), text)
        return _placed(cosines[:, 0], encoder, case, smooth)

    return way


def _gradient(views: int, of: str, smooth: bool = True) -> Way:
    """of: "attention" (times its gradient, summed over the heads, arXiv 2103.15679 without its clamp at 0),
    "positive" (with it), or "tokens" (Grad-CAM, arXiv 1610.02391)."""

    def way(encoder: SiglipEncoder, case: Case) -> np.ndarray:
        tower = encoder._towers.vision.model
        with torch.no_grad():
            pixels = preprocess(_views(encoder, case, views), encoder.spec)
            tokens = tower(pixel_values=pixels).last_hidden_state
        tokens.requires_grad_()
        weights, values = attended(tower.head, tokens)
        said = read_out(tower.head, (weights[:, :, None] @ values)[:, :, 0])
        cosine = (said @ torch.from_numpy(encoder.embed_texts([case.label])[0])).sum()
        if of == "tokens":
            (slope,) = torch.autograd.grad(cosine, tokens)
            scores = (tokens * slope.mean(dim=1, keepdim=True)).sum(dim=-1)
        else:
            (slope,) = torch.autograd.grad(cosine, weights)
            scores = (weights * slope if of == "attention" else (weights * slope).clamp(0)).sum(dim=1)
        rows = encoder.patch_rows
        return _placed(scores.detach().unflatten(-1, (rows, rows)).numpy(), encoder, case, smooth)

    return way


def _occlusion(patches: float, step: float, fill: str, minus: str = "") -> Way:
    """patches, step: side of the covered block and how far it moves, in patches. fill: "mean" or "black"."""

    @torch.inference_mode()
    def way(encoder: SiglipEncoder, case: Case) -> np.ndarray:
        size = encoder.spec.size
        patch = size // encoder.patch_rows
        side, moved = round(patches * patch), round(step * patch)
        pixels = preprocess([case.image], encoder.spec)
        cover = pixels.mean(dim=(2, 3), keepdim=True) if fill == "mean" else torch.tensor(-1.0)
        places = [(y, x) for y in range(0, size - side + 1, moved) for x in range(0, size - side + 1, moved)]
        masks = torch.zeros(len(places), 1, size, size)
        for mask, (y, x) in zip(masks, places, strict=True):
            mask[:, y : y + side, x : x + side] = 1
        text = encoder.embed_texts([case.label])[0]
        if minus:
            text = text - encoder.embed_texts([case.modality.normal[0]])[0]
        pictures = torch.cat([pixels, pixels * (1 - masks) + cover * masks])
        tower = encoder._towers.vision.model
        cosines = F.normalize(tower(pixel_values=pictures).pooler_output, dim=-1) @ torch.from_numpy(text)
        fall = (cosines[0] - cosines[1:])[:, None, None, None]
        mean = (fall * masks).sum(dim=0) / masks.sum(dim=0).clamp(1)
        cells = F.avg_pool2d(mean, patch // 2)[0].numpy()
        return spread(cells, case.image.shape[:2], encoder.spec)

    return way


WAYS: dict[str, Way] = {
    "pooling head, 1 view, not smoothed": _head(1, smooth=False),
    "pooling head, 1 view": _head(1),
    "pooling head, 1 view, minus the normal text": _head(1, minus="normal"),
    "pooling head, 1 view, minus the modality": _head(1, minus="name"),
    "pooling head, 4 views": _head(4),
    "pooling head, 4 views, minus the normal text": _head(4, minus="normal"),
    "product: pooling head, 4 views, x attention^(1/4)": lambda encoder, case: (
        heatmap(encoder, case.image, case.label).values
    ),
    "gradient x attention, 1 view, not smoothed": _gradient(1, "attention", smooth=False),
    "gradient x attention, 1 view": _gradient(1, "attention"),
    "gradient x attention, 4 views": _gradient(4, "attention"),
    "gradient x attention above 0, 4 views": _gradient(4, "positive"),
    "gradient of tokens, 1 view": _gradient(1, "tokens"),
    "gradient of tokens, 4 views": _gradient(4, "tokens"),
    "occlusion, 1 patch, mean": _occlusion(1, 1, "mean"),
    "occlusion, 2 x 2 patches, mean": _occlusion(2, 1, "mean"),
    "occlusion, 2 x 2 patches, black": _occlusion(2, 1, "black"),
    "occlusion, 2 x 2 patches, mean, minus the normal text": _occlusion(2, 1, "mean", "normal"),
    "occlusion, 2 x 2 patches by half patches, mean": _occlusion(2, 0.5, "mean"),
}


if __name__ == "__main__":
    main()
