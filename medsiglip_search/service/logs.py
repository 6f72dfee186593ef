"""The service's log: JSON lines that tell what happened, and nothing that was asked, found or read."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

OWN = "medsiglip_search"
_PACKAGES = Path(__file__).parents[2]


class JsonLines(logging.Formatter):
    """One JSON object on a line for each record; `extra={"fields": {...}}` adds to it.

    Of an exception its kind and the places it came through, without its message, which can hold what a file
    or a user said. Of other libraries no message at all: they write down whatever they work on.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.name.startswith(OWN):
            line["message"] = record.getMessage()
            line |= getattr(record, "fields", {})
        else:
            line["place"] = f"{record.module}:{record.lineno}"
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = [_place(frame) for frame in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Let all loggers of this process write JSON lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OWN).setLevel(level)
    for name in (OWN, "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    name = (
        path.relative_to(_PACKAGES) if path.is_relative_to(_PACKAGES) else Path(path.parent.name, path.name)
    )
    return f"{name.as_posix()}:{frame.lineno} {frame.name}"
