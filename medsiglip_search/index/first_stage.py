"""The first stage of search: it finds candidates among compressed rows, which are then scored exactly."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from medsiglip_search.index.files import Write


class FirstStage(Protocol):
    """Finds most of the best rows of a base, and little else.

    kind: the name that `--index` knows it by. efforts: how much to look at, the least first; at least one.
    looks_everywhere: it compares all rows, only coarsely.
    """

    @property
    def kind(self) -> str: ...

    @property
    def looks_everywhere(self) -> bool: ...

    @property
    def efforts(self) -> tuple[int, ...]: ...

    def candidates(
        self, queries: np.ndarray, count: int, effort: int, member: np.ndarray | None
    ) -> np.ndarray:
        """Return (Q, count) int64 places of likely rows, in no order to rely on; -1 where there are no more.

        queries: (Q, D) float32 unit rows. member: (B,) bool, the places that may be answered; None for all.
        """
        ...

    def saved(self) -> tuple[Mapping[str, Any], Write]:
        """Return what must be noted to load it again, and what writes its file."""
        ...

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        ...
