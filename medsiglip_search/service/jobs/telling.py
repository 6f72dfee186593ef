"""What users may read of an error in a job: places by their names, and nothing of files and requests."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from medsiglip_search.errors import MedSiglipSearchError, ServiceError

# What lies below a place may be called after a patient. It ends where a message goes on: "PATH: what".
_BELOW = r"(?:/[^:;]*)?(?![\w-]|\.\w)"
_PATH = re.compile(r"(?:\b[a-z][a-z0-9+]*://|(?<![\w/.:])/)[^\s:;,'\"]+")
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"")


def told(message: str, names: Mapping[str, str]) -> str:
    """Return `message` on one line, with the names of places for their paths, and none of other paths.

    What is quoted in it is from a file or a request, and is left out.
    """
    if names:
        # The longest first: a place may lie in another.
        places = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        message = re.sub(f"({places}){_BELOW}", lambda found: names[found[1]], message)
    return " ".join(_QUOTED.sub("'...'", _PATH.sub("a file", message)).split())


@contextmanager
def by_name(names: Mapping[str, str]) -> Iterator[None]:
    """Have errors of the product say names for paths. Raises ServiceError in their place."""
    try:
        yield
    except MedSiglipSearchError as error:
        raise ServiceError(told(str(error), names)) from None
