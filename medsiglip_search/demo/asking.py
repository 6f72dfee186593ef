"""What the demo encoder can be asked about a picture: its kind, and the findings of that kind."""

import numpy as np

from medsiglip_search.demo.findings import BY_CODE, MODALITIES
from medsiglip_search.encoders import Encoder
from medsiglip_search.labels import Label, LabelSet


def findings_of(code: str) -> LabelSet | None:
    """Return the findings of a modality, by DICOM's code; None for one that is not drawn.

    Against "no X" alone, for all pictures are of one kind here: with the wordings of a normal picture beside
    it, or the other findings, more are found that are not there.
    """
    if code not in BY_CODE:
        return None
    modality = BY_CODE[code]
    labels = (Label(each.name, each.phrases, (f"no {each.name}",)) for each in modality.findings)
    return LabelSet(f"demo, {modality.name}", "findings", tuple(labels))


def modality_of(embedding: np.ndarray, encoder: Encoder) -> str:
    """Return DICOM's code of the kind of picture that a (D,) embedding is nearest to."""
    means = np.stack([encoder.embed_texts(each.phrases).mean(axis=0) for each in MODALITIES])
    scores = means @ embedding.astype(np.float32) / np.linalg.norm(means, axis=1)
    return MODALITIES[int(scores.argmax())].code
