"""The service's log: JSON lines that tell what happened, and nothing that was asked, found or read."""

import io
import json
import logging
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

OWN = "medsiglip_search"
PRINTED_S = 60.0
"""How often it is told that something was printed at a place."""

_PACKAGES = Path(__file__).parents[2]
_PRINTING = frozenset({"traceback", "warnings"})

log = logging.getLogger(__name__)


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


class Printed(io.TextIOBase):
    """Takes what libraries print, which can be what a user sent: the log tells where, and not what."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__") in _PRINTING:
            frame = frame.f_back
        place, now = f"{frame.f_globals.get('__name__')}:{frame.f_lineno}", time.monotonic()
        if text.strip() and self._told.get(place, -PRINTED_S) <= now - PRINTED_S:
            self._told[place] = now
            log.warning("printed", extra={"fields": {"place": place}})
        return len(text)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Let this process write JSON lines alone to stderr: of all loggers, and of what libraries print."""
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
    sys.stderr = Printed()
    threading.excepthook = _failed


def _failed(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        log.error("failed", exc_info=failure.exc_value)


def _place(frame: traceback.FrameSummary) -> str:
    path = Path(frame.filename)
    name = (
        path.relative_to(_PACKAGES) if path.is_relative_to(_PACKAGES) else Path(path.parent.name, path.name)
    )
    return f"{name.as_posix()}:{frame.lineno} {frame.name}"
