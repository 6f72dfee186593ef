"""What several commands need to label with: the classifier of a gallery, and a truth about it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsiglip_search.terminal import note

if TYPE_CHECKING:
    from medsiglip_search.encoders import Encoder
    from medsiglip_search.gallery import Gallery
    from medsiglip_search.labels.classifier import Classifier
    from medsiglip_search.truth import Truth

LabelSource = Annotated[
    str,
    typer.Argument(
        metavar="LABELSET", help="A shipped set's name, a YAML file, or a probe.", show_default=False
    ),
]
TruthPath = Annotated[
    Path,
    typer.Argument(metavar="TRUTH", help="CSV: path or instance, and what is there.", show_default=False),
]
Column = Annotated[str | None, typer.Option(metavar="NAME", help="The column of TRUTH that names the label.")]
PatientPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX", help="What names the patient in a path; by default the table or the gallery does."
    ),
]
SkipScarce = Annotated[
    bool, typer.Option("--skip-scarce", help="Leave labels out that there are too few images of.")
]


def open_classifier_of(gallery: "Gallery", source: str, encoder: str | None, device: str) -> "Classifier":
    """Return what a label set or a probe comes to on a gallery; its encoder is loaded if texts are needed."""
    from medsiglip_search.encoders import load_encoder_of
    from medsiglip_search.labels.opening import open_classifier

    def load() -> "Encoder":
        return load_encoder_of(gallery.meta, encoder, device)

    if encoder not in (None, gallery.meta.encoder):
        gallery.require(load())  # texts that are kept would hide that it is another one
    return open_classifier(source, gallery, load)


def say_notes(truth: "Truth") -> None:
    """Say on stderr what a reader of figures should know of a truth."""
    for one in truth.notes:
        note(f"{truth.path.name}: {one}")
