"""A label set or a probe by its name or file, ready to score the embeddings of a gallery."""

import os
from collections.abc import Callable
from pathlib import Path

from medsiglip_search.encoders import Encoder
from medsiglip_search.gallery import Gallery
from medsiglip_search.labels import LabelSet
from medsiglip_search.labels.classifier import Classifier, zero_shot
from medsiglip_search.labels.kept_texts import KeptTexts
from medsiglip_search.labels.probe import SUFFIX, load_probe
from medsiglip_search.labels.reading import read_label_set
from medsiglip_search.labels.shipped import shipped_label_set, shipped_names


def open_label_set(name: str | os.PathLike[str]) -> LabelSet:
    """Return the label set of a YAML file, or the shipped one of this name. Raises InvalidLabelSet."""
    return read_label_set(name) if names_file(name) else shipped_label_set(str(name))


def names_file(name: str | os.PathLike[str]) -> bool:
    """Tell whether this names a YAML file rather than a shipped set.

    A file or folder that is called as a shipped set is meant with its path alone: ./modality.
    """
    path = Path(name)
    if path.suffix.lower() in (".yaml", ".yml"):
        return True
    return str(name) not in shipped_names() and path.exists()


def open_classifier(
    name: str | os.PathLike[str], gallery: Gallery, encoder: Callable[[], Encoder]
) -> Classifier:
    """Return the classifier of a label set (shipped, or a YAML file) or of a probe's file.

    encoder: loads the gallery's; called for a label set whose texts are not kept beside the gallery.
    Raises InvalidLabelSet, UnusableFile for a probe that cannot be read, GalleryMismatch for one that was
    trained on other embeddings.
    """
    if Path(name).suffix.lower() == SUFFIX:
        return load_probe(Path(name), gallery.meta).classifier

    def required() -> Encoder:
        loaded = encoder()
        gallery.require(loaded)
        return loaded

    return zero_shot(open_label_set(name), KeptTexts(gallery, required))
