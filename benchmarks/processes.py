"""What a program and the processes that it started take, sampled while it runs (Linux)."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory at one moment.

    seconds: on the clock `time.monotonic`, which all processes of a Linux system share.
    parent_bytes: resident in the program's own process. tree_bytes: of all processes, pages that several
    share counted once (proportional set size).
    """

    seconds: float
    parent_bytes: int
    tree_bytes: int


def run(arguments: Sequence[str], environment: Mapping[str, str] = {}) -> tuple[Any, list[Sample]]:
    """Run `python -m ARGUMENTS`; returns the JSON that it printed last, and samples of its memory."""
    command = [sys.executable, "-m", *arguments]
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=kept | environment
    )
    samples: list[Sample] = []
    sampler = threading.Thread(target=_sample, args=(child, samples))
    sampler.start()
    output, errors = child.communicate()
    sampler.join()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}:\n{errors}")
    return json.loads(output.splitlines()[-1]), samples


@contextmanager
def sampled(pid: int, samples: list[Sample]) -> Iterator[None]:
    """Sample the memory of a process that runs already, and of those it started, until the block ends."""
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_EVERY_S):
            samples.append(_taken(pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield
    finally:
        ended.set()
        sampler.join()


def _sample(child: subprocess.Popen, samples: list[Sample]) -> None:
    while child.poll() is None:
        samples.append(_taken(child.pid))
        time.sleep(SAMPLE_EVERY_S)


def _taken(pid: int) -> Sample:
    tree = [pid, *descendants(pid)]
    taken = sum(_field(one, "smaps_rollup", "Pss") for one in tree)
    return Sample(time.monotonic(), _field(pid, "status", "VmRSS"), taken)


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process started, and those that these did."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = children.read_text().split()
        except OSError:  # the thread has ended
            continue
        for child in map(int, found):
            yield child
            yield from descendants(child)


def resident() -> int:
    """Return how many bytes of this process are in memory."""
    return _field(os.getpid(), "status", "VmRSS")


def _field(pid: int, file: str, name: str) -> int:
    """Return a field of a file of /proc, in bytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(name + ":")), 0)
