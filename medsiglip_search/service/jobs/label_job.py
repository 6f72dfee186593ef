"""Labelling as a job: files of labels, their summary, and what a person should look at."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from medsiglip_search.encoders import Encoder
from medsiglip_search.files import write_file
from medsiglip_search.gallery import Gallery
from medsiglip_search.labelling import output
from medsiglip_search.labelling.run import LabelledBlock
from medsiglip_search.labelling.studies import GroupBy
from medsiglip_search.labelling.summary import Summary
from medsiglip_search.labelling.task import Task
from medsiglip_search.labels import LabelSet
from medsiglip_search.labels.classifier import zero_shot
from medsiglip_search.labels.kept_texts import KeptTexts
from medsiglip_search.labels.labeller import Labeller
from medsiglip_search.service.jobs.course import Course
from medsiglip_search.service.jobs.telling import by_name
from medsiglip_search.service.jobs.uncertain import Uncertain

PARQUET, CSV, SUMMARY = "labels.parquet", "labels.csv", "summary.json"


@dataclass(frozen=True, slots=True)
class LabelWork:
    """Labels the images of a gallery, which users know as `name`, that fit `where`; see `Task`.

    hidden: columns that the files do not have.
    """

    name: str
    gallery: Gallery
    encoder: Encoder
    label_set: LabelSet
    where: str | None = None
    group_by: GroupBy | None = None
    hidden: frozenset[str] = frozenset()

    def __call__(self, course: Course) -> dict[str, Any]:
        """Return what `label --json --out` prints, and of how many images or groups it is."""
        names = {str(self.gallery.path): self.name, str(course.folder): "the job"}
        with by_name(names | ({self.where: "the filter"} if self.where else {})):
            return self._label(course)

    def _label(self, course: Course) -> dict[str, Any]:
        labeller = Labeller(zero_shot(self.label_set, KeptTexts(self.gallery, lambda: self.encoder)))
        uncertain, started, done = Uncertain(labeller), time.monotonic(), 0

        def look(block: LabelledBlock) -> None:
            nonlocal done
            course.require_wanted()
            uncertain.add(block)
            done += len(block)
            seconds_left = (time.monotonic() - started) * (task.count - done) / done
            course.tell(done, task.count, "labelled", seconds_left)

        task = _SeenTask(
            self.gallery, labeller, self.where, self.group_by, look=look, hidden=self.hidden - {"image_id"}
        )
        totals = Summary(task.labels)
        output.write(task, course.files / PARQUET, totals)
        course.tell(done, task.count, "writing CSV")
        _write_csv(course.files / PARQUET, course.files / CSV, course)
        summary = {"count": totals.count, "of_what": task.of_what, "labels": totals.rows()}
        content = json.dumps({**summary, "uncertain": uncertain.rows()}, indent=1, allow_nan=False)
        write_file(course.files / SUMMARY, content.encode())
        return summary


@dataclass(frozen=True)
class _SeenTask(Task):
    """A task that shows each block to `look` as it passes, and whose rows are without the hidden columns."""

    look: Callable[[LabelledBlock], None] = field(kw_only=True)
    hidden: frozenset[str] = field(kw_only=True)

    @property
    def keys(self) -> pa.Schema:
        return pa.schema([one for one in super().keys if one.name not in self.hidden])

    def blocks(self, start: int = 0) -> Iterator[LabelledBlock]:
        for block in super().blocks(start):
            self.look(block)
            yield LabelledBlock(block.keys.select(self.keys.names), block.labelled)


def _write_csv(parquet: Path, path: Path, course: Course) -> None:
    """Write the rows of a file of labels as CSV, as `output.write` would."""
    with pq.ParquetFile(parquet) as file, path.open("wb") as out:
        for group in range(file.num_row_groups):
            course.require_wanted()
            rows = file.read_row_group(group)
            plain = pa.schema(
                [
                    (one.name, one.type.value_type if pa.types.is_dictionary(one.type) else one.type)
                    for one in rows.schema
                ]
            )
            pa_csv.write_csv(
                rows.replace_schema_metadata(None).cast(plain),
                out,
                pa_csv.WriteOptions(include_header=group == 0),
            )
