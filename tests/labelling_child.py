"""The process that is killed: `python tests/labelling_child.py GALLERY OUT GROUP_BY`.

It labels with small parts, says "half" on stdout in the middle of the second and waits there for its end.
"""

import sys
import time
from pathlib import Path
from typing import Any

from labelled import random_labeller

from medsiglip_search.gallery import Gallery
from medsiglip_search.labelling import output
from medsiglip_search.labelling.summary import Summary
from medsiglip_search.labelling.task import Task

SMALL_PARTS = {"GROUP_ROWS": 1, "PART_GROUPS": 2}
"""A part holds two groups of one block each."""


def main() -> None:
    path, out, group_by = sys.argv[1:]
    for name, value in SMALL_PARTS.items():
        setattr(output, name, value)
    long_rows, made = output.long_rows, 0

    def made_of(*arguments: Any) -> Any:
        nonlocal made
        made += 1
        if made == 4:
            print("half", flush=True)
            time.sleep(600)
        return long_rows(*arguments)

    output.long_rows = made_of
    task = Task(Gallery.open(path), random_labeller(), group_by=group_by or None)  # type: ignore[arg-type]
    output.write(task, Path(out), Summary(task.labels))


if __name__ == "__main__":
    main()
