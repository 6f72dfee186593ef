"""Search medical image archives by text, by image and by label. Not a medical device.

from medsiglip_search import Searcher
hits = Searcher.open("gallery").search(text="left pleural effusion", top_k=10)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medsiglip_search.search import Searcher as Searcher

__version__ = "0.1.0"
__all__ = ["Searcher", "__version__"]


def __getattr__(name: str) -> Any:
    # Searcher brings torch, FAISS and Lance with it, seconds that the command line's help need not wait for.
    if name == "Searcher":
        from medsiglip_search.search import Searcher

        return Searcher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
