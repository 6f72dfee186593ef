"""Published data sets that MedSigLIP was trained on: figures on them say little about other images."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SHARE = 0.05
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A data set, and how it is known again.

    named: what its archive's folder or file is called, a regular expression over small letters. looks: what
    paths in it are like, a regular expression; None where nothing is typical.
    """

    name: str
    named: str
    looks: str | None = None


# The sets that the model card names (google/medsiglip-448, "Training data"; arXiv 2507.05201), and the names
# that their publishers give to files.
TRAINING_SETS = (
    TrainingSet("MIMIC-CXR", r"mimic.?cxr", r"(?:^|/)p1\d/p1\d{7}/s5\d{7}\b"),
    TrainingSet("SLAKE", r"slake", r"(?:^|/)xmlab\d+/source\.\w+$"),
    TrainingSet("PAD-UFES-20", r"pad.?ufes(?:.?20)?", r"(?:^|/)PAT_\d+_\d+_\d+\.\w+$"),
    TrainingSet("SCIN", r"scin", r"(?:^|/)-?\d{17,20}\.png$"),
    TrainingSet("TCGA", r"tcga", r"TCGA-[0-9A-Z]{2}-[0-9A-Z]{4}\b"),
    TrainingSet(
        "CAMELYON",
        r"camelyon(?:.?1[67])?",
        r"(?:^|/)(?:(?:normal|tumor)_\d{3}|patient_\d{3}_node_\d)(?=[._/-])",
    ),
    TrainingSet("PMC-OA", r"pmc.?oa", r"(?:^|/)PMC\d+_\w+\.\w+$"),
    TrainingSet(
        "Mendeley knee osteoarthritis",
        r"(?:mendeley.*knee|knee.*mendeley|kneekl\d*|kneexraydata)",
        r"(?:^|/)9\d{6}[LR]\.\w+$",
    ),
    TrainingSet("EyePACS", r"eyepacs", r"(?:^|/)\d{1,5}_(?:left|right)\.\w+$"),
)


def is_medsiglip(encoder: str) -> bool:
    """Tell whether an encoder of this name, folder or hub id is MedSigLIP."""
    return "medsiglip" in encoder.lower()


def recognised(names: Iterable[str], uris: Sequence[str]) -> list[str]:
    """Return the training sets that images are known to be of.

    names: of their archive and of the table that describes them. uris: their paths in the archive; a
    twentieth of them must look like those of a set, for one file may bear any name.
    """
    said = [name.lower() for name in names]
    return [
        each.name
        for each in TRAINING_SETS
        if any(re.search(rf"(?<![a-z0-9]){each.named}(?![a-z])", name) for name in said) or _look(each, uris)
    ]


def warning(encoder: str, names: Iterable[str], uris: Sequence[str]) -> str | None:
    """Return what to say of figures of this encoder on these images; None if there is nothing."""
    sets = recognised(names, uris) if is_medsiglip(encoder) else []
    if not sets:
        return None
    return (
        f"the images look like {' and '.join(sets)}, which MedSigLIP was trained on: "
        "expect worse figures on images that it has not seen"
    )


def _look(training_set: TrainingSet, uris: Sequence[str]) -> bool:
    if training_set.looks is None:
        return False
    looks = re.compile(training_set.looks)
    return sum(looks.search(uri) is not None for uri in uris) >= max(_FEWEST, _SHARE * len(uris))
