"""Probabilities that mean what they say, thresholds, and when to abstain: fitted to a truth table."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medsiglip_search import terminal
from medsiglip_search.commands.classifiers import (
    Column,
    LabelSource,
    PatientPattern,
    SkipScarce,
    TruthPath,
    open_classifier_of,
    say_notes,
)
from medsiglip_search.commands.options import AsJson, Device, EncoderName, GalleryPath, Where
from medsiglip_search.commands.output import print_cells, print_json, say_what_demo_knows
from medsiglip_search.errors import UnusableFile
from medsiglip_search.terminal import note


def calibrate(
    gallery: GalleryPath,
    label_set: LabelSource,
    truth: TruthPath,
    sensitivity: Annotated[
        float | None, typer.Option(help="Findings: thresholds that find this share of those there are.")
    ] = None,
    abstain: Annotated[
        float | None, typer.Option(help="Keep decisions of which this share is right; abstain from others.")
    ] = None,
    column: Column = None,
    patient: PatientPattern = None,
    where: Where = None,
    skip_scarce: SkipScarce = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="By default beside the label set, as *.calibration.json."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    encoder: EncoderName = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Fit probabilities and decisions of a label set to images whose labels are known.

    Prints how that does on patients that it was not fitted to, by cross-validation.
    """
    from medsiglip_search.gallery import Gallery
    from medsiglip_search.labels.calibrating import Wishes
    from medsiglip_search.labels.calibrating import calibrate as fit
    from medsiglip_search.labels.calibration_file import SUFFIX, write_calibration
    from medsiglip_search.labels.opening import names_file
    from medsiglip_search.labels.probe import SUFFIX as PROBE
    from medsiglip_search.truth import join, read_truth

    wishes = Wishes(sensitivity, abstain)
    table = read_truth(truth)
    opened = Gallery.open(gallery)
    say_what_demo_knows(opened.meta.encoder)
    classifier = open_classifier_of(opened, label_set, encoder, device)
    is_file = names_file(label_set) or Path(label_set).suffix.lower() == PROBE
    beside = Path(label_set) if is_file else Path(f"{label_set}.yaml")
    out = out or beside.with_name(beside.stem + SUFFIX)
    if out.exists() and not overwrite:
        raise UnusableFile(f"{out}: there is a file already. Pass --overwrite, or --out with another name")
    known = join(
        table, opened, classifier.labels, classifier.mode, column=column, patient=patient, where=where
    )
    say_notes(known)
    embeddings = opened.embeddings_of(known.image_ids)
    calibration = fit(classifier, opened.meta, embeddings, known, wishes, skip_scarce)
    write_calibration(calibration, out)
    if as_json:
        print_json(asdict(check) for check in calibration.checks)
    else:
        print_cells(terminal.calibration_cells([asdict(check) for check in calibration.checks]))
    left = [label for label in classifier.labels if label not in (calibration.findings or classifier.labels)]
    if left:
        note(f"Left as they are, for too few images: {', '.join(left)}")
    missed = [
        one.label for one in calibration.checks if one.sensitivity is not None and one.sensitivity < 0.5
    ]
    if missed and sensitivity is None:
        note(
            f"Of {', '.join(missed)} less than half is found where the probability must reach one half; pass "
            "--sensitivity for thresholds that find more"
        )
    labelling = terminal.command("label", gallery)
    note(f"Written to {out}. Next: {labelling} {label_set} --calibration {out}")
