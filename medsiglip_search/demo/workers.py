"""Worker processes that do not outlive the command that started them."""

import multiprocessing
import multiprocessing.connection
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def worker_pool() -> ProcessPoolExecutor:
    """Return a pool of one process for each processor. Not forked: torch's threads may be running by now."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process when its parent is gone; a parent that was killed tells nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
