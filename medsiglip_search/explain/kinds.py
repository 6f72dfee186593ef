"""The language models that have names, and what each kind of MedGemma was made for."""

from dataclasses import dataclass
from pathlib import PurePath

from medsiglip_search.checkpoints import CHECKPOINT_FILES, Catalogue, Shipped
from medsiglip_search.errors import ExplainerUnavailable
from medsiglip_search.explain import DEMO_EXPLAINER_FOLDER
from medsiglip_search.windows import CT_WINDOWS, RenderSpec, Window


@dataclass(frozen=True, slots=True)
class Kind:
    """pictures: so many in one prompt. rendering: how its pictures show values that are no colours."""

    pictures: int
    rendering: RenderSpec


EVIDENCE = "evidence"
"""The explainer without a language model."""

DEMO_EXPLAINER = "demo"
"""The explainer that knows synthetic pictures only."""

KEY_VARIABLE = "MEDSIGLIP_EXPLAINER_KEY"
"""The variable with the key of an explainer's server."""

READER_KEY_VARIABLE = "MEDSIGLIP_READER_KEY"
"""The variable with the key of a second reader's server."""

HOW_TO_GIVE_A_KEY = f"--key-file or {KEY_VARIABLE} (of --reader: --reader-key-file or {READER_KEY_VARIABLE})"

EXPLAINERS = Catalogue(
    kind="explainer",
    shipped={DEMO_EXPLAINER: Shipped(DEMO_EXPLAINER_FOLDER, "medsiglip_search.demo.train_explainer")},
    hub_names={
        "medgemma": "google/medgemma-1.5-4b-it",
        "medgemma-1.5-4b-it": "google/medgemma-1.5-4b-it",
        "medgemma-4b-it": "google/medgemma-4b-it",
        "medgemma-27b-it": "google/medgemma-27b-it",
        "medgemma-27b-text-it": "google/medgemma-27b-text-it",
    },
    unavailable=ExplainerUnavailable,
    files=[
        *CHECKPOINT_FILES,
        "added_tokens.json",
        "chat_template.*",
        "generation_config.json",
        "merges.txt",
        "processor_config.json",
        "vocab.*",
    ],
    also=[EVIDENCE, "the URL of a server"],
)

_KINDS = {
    # Its model card: CT as slices of 85 at most, with these windows in red, green and blue.
    "medgemma-1.5": Kind(
        85, RenderSpec(ct=(Window(-1024, 1024), CT_WINDOWS["soft_tissue"], CT_WINDOWS["brain"]))
    ),
    "27b-text": Kind(0, RenderSpec()),
    # MedGemma 1 takes more, and was evaluated on one picture at a time.
    "": Kind(1, RenderSpec()),
}
"""By a part of the name of a model or its folder; the first that fits."""


def kind_of(name: str) -> Kind:
    """Return the kind of a model by its name, or by the path of its folder.

    The hub's cache keeps a checkpoint in a folder of its commit, two below one of its name.
    """
    path = PurePath(name.lower())
    named = [part for part in path.parts if part.startswith("models--")] or [path.name]
    return next(kind for part, kind in _KINDS.items() if part in named[-1])
