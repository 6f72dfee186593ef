"""An explainer by its name: the evidence alone, a local Gemma, or a server."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medsiglip_search.explain import Explainer
from medsiglip_search.explain.cache import DAY_S, MOST_AGE_S, CachedModel
from medsiglip_search.explain.chat import Abilities, ChatModel
from medsiglip_search.explain.evidence import EvidenceExplainer
from medsiglip_search.explain.kinds import DEMO_EXPLAINER, EVIDENCE, EXPLAINERS, KEY_VARIABLE

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
    key_variable: str = KEY_VARIABLE
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
    elif name != EVIDENCE:
        EXPLAINERS.require_known(name)


def _is_url(name: str) -> bool:
    return bool(re.match(r"[a-z][a-z0-9+.-]*://", name, re.IGNORECASE))


def _model(name: str, access: Access) -> ChatModel:
    # torch, transformers and httpx take seconds to import.
    if _is_url(name):
        from medsiglip_search.explain.remote import connect, read_key

        key = read_key(access.key_file, os.environ, access.key_variable)
        return connect(name, access.model, key=key, may_upload=access.may_upload)
    from medsiglip_search.explain.gemma import load_gemma

    abilities = DEMO_ABILITIES if name == DEMO_EXPLAINER else None
    return load_gemma(name, access.device, four_bit=access.four_bit, abilities=abilities)
