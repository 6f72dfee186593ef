"""The tabs of browsers: what happens in one is told to whoever opened it, and to nobody else."""

import threading
from collections import OrderedDict

from medsiglip_search.errors import NotFound

MOST_EACH = 500
"""So many tabs of one user are known; of more, that which was used the longest ago is forgotten."""


class Tabs:
    """Whose each tab is. For any number of threads.

    The pages' library names a tab by a number that its browser has drawn, and asks for nothing else before it
    tells what happens there: such a number stands in addresses, and is no secret.
    """

    def __init__(self, most_each: int = MOST_EACH) -> None:
        self._most_each = most_each
        self._lock = threading.Lock()
        self._owners: dict[str, str] = {}
        self._tabs: dict[str, OrderedDict[str, None]] = {}

    def require(self, tab: str, owner: str) -> None:
        """Take a tab that is new for its owner's. Raises NotFound if it is somebody else's."""
        with self._lock:
            if self._owners.setdefault(tab, owner) != owner:
                raise NotFound("there is no such tab; load the page again")
            own = self._tabs.setdefault(owner, OrderedDict())
            own[tab] = None
            own.move_to_end(tab)
            if len(own) > self._most_each:
                del self._owners[own.popitem(last=False)[0]]
