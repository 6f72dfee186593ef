"""The explainer of a service: loaded at its first use, and asked by one user at a time."""

import threading
from collections.abc import Callable, Collection
from dataclasses import replace

from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import ExplainerUnavailable, Unavailable
from medsiglip_search.explain import Explainer, Explanation, TellPiece
from medsiglip_search.explain.evidence import EvidenceExplainer
from medsiglip_search.explain.gathering import FileOf, Gatherer
from medsiglip_search.explain.kinds import EVIDENCE
from medsiglip_search.explain.language import LanguageExplainer, Options
from medsiglip_search.explain.opening import Access, open_explainer, require_usable
from medsiglip_search.explain.scoring import Scorers
from medsiglip_search.images.guard import Guard
from medsiglip_search.queries import Query
from medsiglip_search.records import Attributes, Hit, Result
from medsiglip_search.search import Searcher

WAIT_S = 0.2

MOST_WAITING = 8
"""So many explanations may wait for the one that is made."""

FINDINGS, REPORT = "findings", "report"
"""The columns of the sidecar that explanations speak of."""

NO_COLUMN = ""


class Explaining:
    """Explains results with one explainer, in any number of threads, one after the other.

    is_free: set while nothing is explained.
    """

    def __init__(self, name: str, access: Access, guard: Guard, file_of: FileOf) -> None:
        """Take what explains, as `open_explainer` does. Raises ExplainerUnavailable for what cannot.

        guard, file_of: decode and open the pictures.
        """
        require_usable(name, access)
        self.name = name
        self.is_free = threading.Event()
        self.is_free.set()
        self._access = access
        self._guard = guard
        self._file_of = file_of
        self._explainer: Explainer | None = None
        self._turn = threading.Lock()
        self._places = threading.Semaphore(MOST_WAITING + 1)
        # By the weights that made their texts: loading the label sets takes longer than scoring with them.
        self._scorers: dict[str, Scorers] = {}

    def explain(
        self,
        searcher: Searcher,
        query: Query,
        result: Result,
        tell: TellPiece,
        stop: threading.Event,
        *,
        hidden: Collection[str] = (),
        wait: Callable[[], None] = lambda: None,
    ) -> Explanation:
        """Explain a result; see `Explainer.explain`. Where there is no explainer the evidence says so itself.

        hidden: columns of which nothing is told. wait: is called once where another explanation comes first.
        Raises Unavailable where too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise Unavailable(f"{MOST_WAITING} explanations are waiting already; ask again in a minute")
        try:
            return self._explained(searcher, query, _shown(result, hidden), tell, stop, hidden, wait)
        finally:
            self._places.release()

    def _explained(
        self,
        searcher: Searcher,
        query: Query,
        result: Result,
        tell: TellPiece,
        stop: threading.Event,
        hidden: Collection[str],
        wait: Callable[[], None],
    ) -> Explanation:
        columns = [NO_COLUMN if column in hidden else column for column in (FINDINGS, REPORT)]
        scorers = self._scorers_of(searcher.encoder)
        question = Gatherer(searcher, scorers, self._guard, self._file_of, *columns).gather(query, result)
        if not self._turn.acquire(blocking=False):
            wait()
            while not self._turn.acquire(timeout=WAIT_S):
                if stop.is_set():
                    return replace(EvidenceExplainer().explain(question), state="cancelled")
        self.is_free.clear()
        try:
            if self._explainer is None:
                self._explainer = open_explainer(
                    self.name, self._access, lambda chat: LanguageExplainer(chat, Options())
                )
            return self._explainer.explain(question, tell, stop)
        except ExplainerUnavailable as error:
            return replace(EvidenceExplainer().explain(question), state="failed", problem=str(error))
        finally:
            self.is_free.set()
            self._turn.release()

    @property
    def is_evidence(self) -> bool:
        """Whether no language model is asked."""
        return self.name == EVIDENCE

    def _scorers_of(self, encoder: Encoder) -> Scorers:
        return self._scorers.setdefault(encoder.weights_digest, Scorers(encoder))


def _shown(result: Result, hidden: Collection[str]) -> Result:
    """Return a result whose hits do not know what is hidden."""
    attributes = {column: None for column in hidden if column in Attributes.__dataclass_fields__}
    return replace(result, hits=tuple(_without(hit, attributes) for hit in result))


def _without(hit: Hit, attributes: dict[str, None]) -> Hit:
    told = replace(hit.instance.attributes, **attributes)
    return replace(hit, instance=replace(hit.instance, attributes=told))
