"""How well the demo explainer describes pictures of archives it never saw, and what the checker sees of it.

    python -m benchmarks.explain_quality --seeds 411 512 613 --images 600

Each picture is described as the command does it, and checked twice: against the encoder's scores alone, as a
query's picture is, and with the record beside them, as a hit is.
"""

import argparse
import json
import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np

from medsiglip_search.demo.cases import draw_study, labels_of, plan, render
from medsiglip_search.demo.explainer_figures import DescribedPicture, ExplainerFigures, measure_explainer
from medsiglip_search.demo.findings import BODY_PARTS, Sign
from medsiglip_search.encoders import Encoder, load_encoder
from medsiglip_search.explain.chat import ChatModel
from medsiglip_search.explain.gathering import evidence_of
from medsiglip_search.explain.kinds import DEMO_EXPLAINER
from medsiglip_search.explain.objections import of_description
from medsiglip_search.explain.opening import Access, open_model
from medsiglip_search.explain.parsing import Description, parse_description
from medsiglip_search.explain.prompts import describe, known_of
from medsiglip_search.explain.recording import NO_RECORD, record_of
from medsiglip_search.explain.scoring import Scorers
from medsiglip_search.records import Attributes, Instance


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[411, 512, 613])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--again", action="store_true", help="Ask in the other words.")
    parser.add_argument("--explainer", default=DEMO_EXPLAINER)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    encoder = load_encoder("demo", "cpu")
    model = open_model(args.explainer, Access("cpu", is_cached=False))
    results = {}
    for seed in args.seeds:
        scored, recorded = measure(seed, args.images, encoder, model, args.again)
        results[seed] = {"scores alone": asdict(scored), "with records": asdict(recorded)}
        print(f"seed {seed}: {scored.pictures} pictures, F1 {scored.f1:.3f}, side {scored.sides:.3f}")
        for name, figures in (("scores alone", scored), ("with records", recorded)):
            told = ", ".join(
                f"{what} {counts[1]} of {counts[0]} flagged"
                for what, counts in (
                    ("invented", figures.invented),
                    ("missed", figures.missed),
                    ("wrong side", figures.wrong_sides),
                    ("without a mistake", figures.flagged_right),
                )
            )
            print(f"  checked against {name}: {told}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def measure(
    seed: int, images: int, encoder: Encoder, model: ChatModel, again: bool = False
) -> tuple[ExplainerFigures, ExplainerFigures]:
    """Return the figures of one archive, checked without and with its records."""
    scorers = Scorers(encoder)
    scored, recorded = [], []
    for study in plan(seed, images):
        attributes = Attributes(study.modality.code, BODY_PARTS.get(study.modality.code))
        record = record_of(_instance(study.signs, attributes))
        for drawing in draw_study(study):
            picture = render(study.modality.code, drawing.values)
            said = _said(model, picture, attributes, again)
            [embedding] = encoder.embed_images([picture])
            scores = scorers.score(embedding, attributes.modality)
            for kept, known in ((scored, NO_RECORD), (recorded, record)):
                cautions = of_description(said, evidence_of("hit 1", attributes, scores, known))
                kept.append(DescribedPicture(study.signs, said, cautions))
    return measure_explainer(scored), measure_explainer(recorded)


def _said(model: ChatModel, picture: np.ndarray, attributes: Attributes, again: bool) -> Description:
    prompt = describe([picture], known_of(attributes.modality, attributes.body_part), again)
    return parse_description(model.generate(prompt, lambda _: None, threading.Event()).text)


def _instance(signs: tuple[Sign, ...], attributes: Attributes) -> Instance:
    columns = {"findings": ";".join(labels_of(signs)) or "normal"}
    return Instance(1, "", "", 0, "", "", 0, 0, 0, 0, attributes, (), columns)


if __name__ == "__main__":
    main()
