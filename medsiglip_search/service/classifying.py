"""The classifiers of a service, each made when it is first asked for."""

import threading
from collections import OrderedDict

from medsiglip_search.encoders import Encoder
from medsiglip_search.labels import LabelSet
from medsiglip_search.labels.classifier import Classifier, zero_shot

MOST = 64


class Classifiers:
    """Classifiers of label sets by set and encoder, the latest `MOST` kept. For any number of threads."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[LabelSet, str], Classifier] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, label_set: LabelSet, encoder: Encoder) -> Classifier:
        """Return what the prompts of a set come to with an encoder."""
        key = (label_set, encoder.weights_digest)
        # One at a time: two who want the same one would embed its texts twice.
        with self._lock:
            if key not in self._made:
                self._made[key] = zero_shot(label_set, encoder)
            self._made.move_to_end(key)
            while len(self._made) > MOST:
                self._made.popitem(last=False)
            return self._made[key]
