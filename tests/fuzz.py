"""Reads damaged files by the thousand and tells what came of them: `python tests/fuzz.py --count 20000`.

Every damaged file must be a picture or have a reason, and its worker must live. Whatever else happens is a
failure; its seed makes the file again.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import local
from typing import Any

from good_files import good_files
from guarded_tasks import attempt
from mutations import mutated

from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.images.guard import Guard, Limits

WORKERS = 2
LIMITS = Limits(timeout_s=10.0)
KINDS = ("dicom", "dicom", "dicom", "dicom", "png", "jpeg", "tiff", "tiff", "other")
FAILED, DIED, TIMED_OUT = "FAILED", "worker died", "timed out"


@dataclass
class Report:
    """What came of the files.

    outcomes: how often each, as a pair of kind and outcome.
    failures: outcome and explanation by seed.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)

    def count(self, outcome: str) -> int:
        return sum(number for (_, found), number in self.outcomes.items() if found == outcome)

    def table(self) -> str:
        """Return lines of text: one for each outcome, the most frequent first, then the failures."""
        kinds = list(dict.fromkeys(KINDS))
        always = {FAILED, DIED, TIMED_OUT}
        found = sorted(
            {outcome for _, outcome in self.outcomes} | always, key=lambda outcome: -self.count(outcome)
        )
        lines = [f"{'':20}" + "".join(f"{kind:>9}" for kind in [*kinds, "all"])]
        for outcome in found:
            counts = [*(self.outcomes[kind, outcome] for kind in kinds), self.count(outcome)]
            lines.append(f"{outcome:20}" + "".join(f"{count:9}" for count in counts))
        alike: dict[tuple[str, str], list[int]] = {}
        for seed, failure in sorted(self.failures.items()):
            alike.setdefault(failure, []).append(seed)
        for (outcome, said), seeds in alike.items():
            lines.append(
                f"\n{outcome}, {len(seeds)} times, with --only {', '.join(map(str, seeds[:10]))}:\n{said}"
            )
        return "\n".join(lines)


def damaged_file(seed: int) -> tuple[str, bytes]:
    """Return the kind and the content of the damaged file of a seed."""
    rng = Random(seed)
    kind = rng.choice(KINDS)
    return kind, mutated(rng.choice(good_files()[kind]), kind, rng)


def judge(guard: Guard, task: Callable[..., Iterator[tuple[str, str]]], *arguments: Any) -> tuple[str, str]:
    """Return the outcome of a task in a worker, and an explanation."""
    try:
        [result] = guard.run(task, *arguments)
    except Unreadable as error:  # not the file's, which the task catches
        return (TIMED_OUT if error.reason == Reason.DECODE_TIMEOUT else DIED), str(error)
    except Exception as error:
        return FAILED, f"the guard raised {type(error).__name__}: {error}"
    return result


def fuzz(seeds: Iterable[int]) -> Report:
    """Return what came of the damaged files of these seeds."""
    report = Report()
    files = local()
    good_files()  # once, before the threads ask for them
    with tempfile.TemporaryDirectory() as folder, Guard(WORKERS, LIMITS) as guard:

        def outcome_of(seed: int) -> tuple[int, str, tuple[str, str]]:
            # On disk, as archives are: a file refuses to be read beyond its end in other ways than bytes do.
            if not hasattr(files, "path"):
                files.path = tempfile.mkstemp(dir=folder)[1]
            kind, content = damaged_file(seed)
            Path(files.path).write_bytes(content)
            return seed, kind, judge(guard, attempt, files.path)

        with ThreadPoolExecutor(WORKERS) as threads:
            for seed, kind, (outcome, said) in threads.map(outcome_of, seeds):
                report.outcomes[kind, outcome] += 1
                if outcome in (FAILED, DIED, TIMED_OUT):
                    report.failures[seed] = outcome, said
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--only", type=int, metavar="SEED", help="read the file of this seed alone")
    parser.add_argument("--out", type=Path, metavar="FILE", help="with --only: write the damaged file")
    options = parser.parse_args()
    first, count = (options.seed, options.count) if options.only is None else (options.only, 1)
    if options.out and options.only is not None:
        options.out.write_bytes(damaged_file(options.only)[1])
    started = time.perf_counter()
    report = fuzz(range(first, first + count))
    print(report.table())
    print(f"{count} files in {time.perf_counter() - started:.0f} s")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
