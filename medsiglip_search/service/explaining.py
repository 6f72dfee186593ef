"""The explainer of a service: loaded at its first use, and asked by one user at a time."""

import threading
from dataclasses import replace

from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import ExplainerUnavailable
from medsiglip_search.explain import Explainer, Explanation, TellPiece
from medsiglip_search.explain.evidence import EvidenceExplainer
from medsiglip_search.explain.gathering import FileOf, Gatherer
from medsiglip_search.explain.kinds import EVIDENCE
from medsiglip_search.explain.language import LanguageExplainer, Options
from medsiglip_search.explain.opening import Access, open_explainer, require_usable
from medsiglip_search.explain.scoring import Scorers
from medsiglip_search.images.guard import Guard
from medsiglip_search.queries import Query
from medsiglip_search.records import Result
from medsiglip_search.search import Searcher

WAIT_S = 0.2


class Explaining:
    """Explains results with one explainer, in any number of threads, one after the other."""

    def __init__(self, name: str, access: Access, guard: Guard, file_of: FileOf) -> None:
        """Take what explains, as `open_explainer` does. Raises ExplainerUnavailable for what cannot.

        guard, file_of: decode and open the pictures.
        """
        require_usable(name, access)
        self.name = name
        self._access = access
        self._guard = guard
        self._file_of = file_of
        self._explainer: Explainer | None = None
        self._turn = threading.Lock()
        # By the weights that made their texts: loading the label sets takes longer than scoring with them.
        self._scorers: dict[str, Scorers] = {}

    def explain(
        self, searcher: Searcher, query: Query, result: Result, tell: TellPiece, stop: threading.Event
    ) -> Explanation:
        """Explain a result; see `Explainer.explain`. Where there is no explainer the evidence says so itself."""
        scorers = self._scorers_of(searcher.encoder)
        question = Gatherer(searcher, scorers, self._guard, self._file_of).gather(query, result)
        while not self._turn.acquire(timeout=WAIT_S):
            if stop.is_set():
                return replace(EvidenceExplainer().explain(question), state="cancelled")
        try:
            if self._explainer is None:
                self._explainer = open_explainer(
                    self.name, self._access, lambda chat: LanguageExplainer(chat, Options())
                )
            return self._explainer.explain(question, tell, stop)
        except ExplainerUnavailable as error:
            return replace(EvidenceExplainer().explain(question), state="failed", problem=str(error))
        finally:
            self._turn.release()

    @property
    def is_evidence(self) -> bool:
        """Whether no language model is asked."""
        return self.name == EVIDENCE

    def _scorers_of(self, encoder: Encoder) -> Scorers:
        return self._scorers.setdefault(encoder.weights_digest, Scorers(encoder))
