"""The classifiers of a service, each made when it is first asked for."""

import threading
from collections import OrderedDict

from medsiglip_search.labels import LabelSet
from medsiglip_search.labels.classifier import Classifier, zero_shot
from medsiglip_search.labels.kept_texts import KeptTexts
from medsiglip_search.search import Searcher

MOST = 64


class Classifiers:
    """Classifiers of label sets by set and encoder, the latest `MOST` kept. For any number of threads."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[LabelSet, str], Classifier] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, label_set: LabelSet, searcher: Searcher) -> Classifier:
        """Return what the prompts of a set come to with a gallery's encoder."""
        key = (label_set, searcher.encoder.weights_digest)
        # One at a time: two who want the same one would embed its texts twice.
        with self._lock:
            if key not in self._made:
                texts = KeptTexts(searcher.gallery, lambda: searcher.encoder)
                self._made[key] = zero_shot(label_set, texts)
            self._made.move_to_end(key)
            while len(self._made) > MOST:
                self._made.popitem(last=False)
            return self._made[key]
