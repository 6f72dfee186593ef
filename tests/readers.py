"""Readers search while a writer adds, deletes and compacts: `python tests/readers.py --seconds 600`.

There must be no error, each reader must find one version at a time, and its memory must stay as it is.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from readers_child import make

READERS = 4
# What a process takes once all that it uses has been used, and at the end.
WARM_UP, WINDOW = 0.3, 0.2


@dataclass(frozen=True, slots=True)
class Report:
    """versions: that the writer made; searches, seen: of each reader, and of how many versions.

    growth: of the memory of each reader, as a share.
    """

    versions: int
    searches: list[int]
    seen: list[int]
    growth: list[float]

    def __str__(self) -> str:
        growth = ", ".join(f"{100 * one:+.1f} %" for one in self.growth)
        return (
            f"{self.versions} versions written; {len(self.searches)} readers, {sum(self.searches)} searches, "
            f"{min(self.seen)} to {max(self.seen)} versions seen: no error, none mixed; memory {growth}"
        )


def run(folder: Path, seconds: float) -> Report:
    """Have one process write and READERS read for so long. Raises AssertionError with what one says."""
    gallery = folder / "gallery"
    make(gallery)
    roles = ["write", *["read"] * READERS]
    program = [sys.executable, str(Path(__file__).with_name("readers_child.py"))]
    processes = [
        subprocess.Popen(
            [*program, role, str(gallery), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role in roles
    ]
    for process in processes:
        process.stdout.readline()  # it is ready
    for process in processes:
        process.stdin.write("begin\n")
        process.stdin.flush()
    ended = [process.communicate() for process in processes]
    for role, process, (_, errors) in zip(roles, processes, ended, strict=True):
        assert process.returncode == 0, f"{role}: {errors[-2000:]}"
    writer, *readers = (json.loads(output) for output, _ in ended)
    return Report(
        writer["versions"],
        [reader["searches"] for reader in readers],
        [reader["versions"] for reader in readers],
        [growth(reader["resident"]) for reader in readers],
    )


def growth(resident: list[int]) -> float:
    """Return by what share the end of a run takes more memory than its beginning, the warm-up left out."""
    window = max(1, int(WINDOW * len(resident)))
    warm = int(WARM_UP * len(resident))
    return median(resident[-window:]) / median(resident[warm : warm + window]) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(run(Path(folder), options.seconds))


if __name__ == "__main__":
    main()
