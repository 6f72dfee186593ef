"""An explainer by its name: the evidence alone, a local Gemma, or a server."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medsiglip_search.errors import ExplainerUnavailable
from medsiglip_search.explain import DEMO_EXPLAINER_FOLDER, Explainer
from medsiglip_search.explain.cache import DAY_S, MOST_AGE_S, CachedModel
from medsiglip_search.explain.chat import Abilities, ChatModel
from medsiglip_search.explain.evidence import EvidenceExplainer
from medsiglip_search.explain.kinds import HUB_NAMES
from medsiglip_search.explain.language import DEMO

EVIDENCE = "evidence"
DEMO_ABILITIES = Abilities(pictures=1, writes=False)


@dataclass(frozen=True, slots=True)
class Access:
    """How models are reached.

    device, four_bit: of a local one. model: which of a server's. key_file: with the server's key; without,
    the variable is asked, which belongs to this server alone. may_upload: whether pictures and reports may
    leave this machine. is_cached: whether answers are kept on disk.
    """

    device: str = "auto"
    four_bit: bool = False
    model: str | None = None
    key_file: Path | None = None
    key_variable: str = "MEDSIGLIP_EXPLAINER_KEY"
    may_upload: bool = False
    is_cached: bool = True


def open_explainer(name: str, access: Access, explainer_of: Callable[[ChatModel], Explainer]) -> Explainer:
    """Return the explainer of a name: "evidence", "demo", "medgemma", a folder, a hub id, or a server's URL.

    explainer_of: makes one of a language model. Raises ExplainerUnavailable.
    """
    return EvidenceExplainer() if name == EVIDENCE else explainer_of(open_model(name, access))


def open_model(name: str, access: Access) -> ChatModel:
    """Return the language model of a name. Raises ExplainerUnavailable."""
    model = _model(name, access)
    if not access.is_cached:
        return model
    # What stands behind a URL can change without a sign; weights here have their digest.
    return CachedModel(model, most_age_s=DAY_S if _is_url(name) else MOST_AGE_S)


def require_usable(name: str, access: Access) -> None:
    """Raise ExplainerUnavailable for what cannot be an explainer, before anything is loaded or asked."""
    if _is_url(name):
        from medsiglip_search.explain.server.address import read_address, require_upload

        require_upload(read_address(name), access.may_upload)
        return
    path = Path(os.path.expanduser(name))
    is_hub_id = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None
    if not (name in (EVIDENCE, DEMO, *HUB_NAMES) or path.exists() or is_hub_id):
        raise ExplainerUnavailable(
            f"{name!r}: no such explainer; use {EVIDENCE}, {DEMO}, {', '.join(HUB_NAMES)}, a checkpoint "
            "folder that exists, a hub id (org/name), or the URL of a server"
        )


def _is_url(name: str) -> bool:
    return bool(re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE))


def _model(name: str, access: Access) -> ChatModel:
    # torch, transformers and httpx take seconds to import.
    if _is_url(name):
        from medsiglip_search.explain.remote import connect, read_key

        key = read_key(access.key_file, os.environ, access.key_variable)
        return connect(name, access.model, key=key, may_upload=access.may_upload)
    from medsiglip_search.explain.gemma import load_gemma

    if name == DEMO:
        if not DEMO_EXPLAINER_FOLDER.is_dir():
            raise ExplainerUnavailable(
                "demo: the package came without its explainer; install it again, or train it with "
                "`python -m medsiglip_search.demo.train_explainer`"
            )
        return load_gemma(DEMO_EXPLAINER_FOLDER, access.device, name=DEMO, abilities=DEMO_ABILITIES)
    return load_gemma(name, access.device, four_bit=access.four_bit)
