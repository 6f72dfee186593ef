"""The JSON files of a checkpoint."""

import json
from pathlib import Path
from typing import Any

from medsiglip_search.errors import EncoderUnavailable


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file. Raises EncoderUnavailable if there is none."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderUnavailable(f"{path}: cannot be read as JSON; fetch it again") from error
    if not isinstance(value, dict):
        raise EncoderUnavailable(f"{path}: not a JSON object; fetch it again")
    return value
