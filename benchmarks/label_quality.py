"""How good labels are: `python -m benchmarks.label_quality`.

    zero-shot   the findings by their prompts
    calibrated  probabilities and kept decisions, fitted to one half of the patients, on the other half
    probe       trained on 16 images with each finding, beside zero-shot, on the other half

On synthetic archives of 2,400 images, one for each seed, whose findings are known, with the demo encoder. Of
1,500 half the patients often have fewer than the 10 images of the rarest finding that a calibration takes.

Findings are rare, and so some bounds are met without looking at an image: beside the figures stand those of
calling every finding absent, and of giving each its share of the known images as its probability. That level
0.9 holds of "present" is promised on average: of single halves of the patients some come out a little lower.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.demo_galleries import demo_gallery
from benchmarks.figures import Figure, report, require_all
from medsiglip_search.encoders import Encoder, load_encoder
from medsiglip_search.evaluate.metrics import calibration_error
from medsiglip_search.labels.calibrating import Wishes, calibrate
from medsiglip_search.labels.classifier import Classifier, zero_shot
from medsiglip_search.labels.labeller import ABSTAIN, PRESENT, Labeller
from medsiglip_search.labels.opening import open_label_set
from medsiglip_search.labels.probing import train_probe
from medsiglip_search.truth import Truth, join, read_truth

UNSEEN_SEEDS = (411, 512, 613)
IMAGES, SHOTS, LEVEL = 2400, 16, 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=UNSEEN_SEEDS)
    parser.add_argument("--folder", type=Path, help="where archives are drawn, and found again")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    encoder = load_encoder("demo", "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        sections = (_of_seed(folder / f"s{seed}", seed, encoder) for seed in options.seeds)
        require_all(report(sections, ("scikit-learn", "torch"), options.json))


def _of_seed(folder: Path, seed: int, encoder: Encoder) -> Iterator[Figure]:
    """Yield the figures of one archive."""
    places, gallery = demo_gallery(folder, seed, IMAGES, encoder)
    classifier = zero_shot(open_label_set("demo-findings"), encoder)
    truth = join(read_truth(places.truth), gallery, classifier.labels)
    embeddings = gallery.embeddings_of(truth.image_ids)
    auc = _aucs(classifier, embeddings, truth)
    yield Figure(f"{seed}: macro AUC of the findings, all images", float(auc.mean()), "", at_least=0.97)
    yield Figure(f"{seed}: lowest AUC of a finding", float(auc.min()), "")

    patients = np.random.default_rng(0).permutation(np.unique(truth.patients))
    known = np.isin(truth.patients, patients[: len(patients) // 2])
    fitted_on, tested_on = truth.only(known), truth.only(~known)
    calibration = calibrate(
        classifier, gallery.meta, embeddings[known], fitted_on, Wishes(abstain_level=LEVEL)
    )
    labelled = Labeller(classifier, calibration).label(embeddings[~known])
    present = tested_on.of(classifier.labels) == 1
    errors = {
        "raw": _errors(labelled.probabilities, present),
        "calibrated": _errors(labelled.best, present),
    }
    yield Figure(f"{seed}: calibration error, raw, mean of the findings", float(errors["raw"].mean()), "")
    mean, worst = float(errors["calibrated"].mean()), float(errors["calibrated"].max())
    yield Figure(f"{seed}: calibration error, calibrated, mean of the findings", mean, "", below=0.05)
    yield Figure(f"{seed}: calibration error, calibrated, highest", worst, "", below=0.05)
    kept, called = labelled.decisions != ABSTAIN, labelled.decisions == PRESENT
    shares = np.broadcast_to((fitted_on.of(classifier.labels) == 1).mean(axis=0), present.shape)
    by_share = float(_errors(shares.astype(np.float32), present).mean())
    yield Figure(f"{seed}: calibration error of the shares alone, mean of the findings", by_share, "")
    yield Figure(f"{seed}: decisions kept at level 0.9", float(kept.mean()), "")
    right = float((called == present)[kept].mean())
    yield Figure(f"{seed}: of the kept, right", right, "", at_least=LEVEL)
    yield Figure(f"{seed}: right if all were called absent", float((~present).mean()), "")
    right = float(present[called].mean())
    yield Figure(f"{seed}: of the kept that say present, right", right, "", at_least=LEVEL)
    yield Figure(f"{seed}: of the findings there, called present", float(called[present].mean()), "")

    trained = train_probe("probe", "findings", gallery.meta, embeddings[known], fitted_on, shots=SHOTS)
    by_prompts = _aucs(classifier, embeddings[~known], tested_on)
    by_probe = _aucs(trained.classifier, embeddings[~known], tested_on)
    weakest = np.argsort(by_prompts)[: len(by_prompts) // 3]
    yield Figure(f"{seed}: weakest third, AUC of the prompts", float(by_prompts[weakest].mean()), "")
    yield Figure(f"{seed}: weakest third, AUC of the probe", float(by_probe[weakest].mean()), "")
    better = float((by_probe - by_prompts)[weakest].mean())
    yield Figure(f"{seed}: weakest third, probe better by", better, "", at_least=1e-9)


def _aucs(classifier: Classifier, embeddings: np.ndarray, truth: Truth) -> np.ndarray:
    """Return the AUC of each label, (L,) float64."""
    scores, present = classifier.scores(embeddings), truth.of(classifier.labels)
    return np.array([roc_auc_score(present[:, n], scores[:, n]) for n in range(len(classifier.labels))])


def _errors(probabilities: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the expected calibration error of each label, (L,) float64."""
    once = np.ones((len(present), 1))
    pairs = zip(probabilities.T, present.T, strict=True)
    return np.array([calibration_error(own, shown, once)[0] for own, shown in pairs])


if __name__ == "__main__":
    main()
