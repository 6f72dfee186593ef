"""Labels as a file for other programs: Parquet or CSV, one row for each image and label."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from medsiglip_search.errors import UnusableFile
from medsiglip_search.labelling.parts import Parts, parts_of
from medsiglip_search.labelling.rows import joined, long_rows, rows_schema
from medsiglip_search.labelling.run import BLOCK_ROWS, LabelledBlock
from medsiglip_search.labelling.summary import Summary
from medsiglip_search.labelling.task import Task
from medsiglip_search.transfer import Progress, silent

FORMATS = (".parquet", ".csv")
KEY = "medsiglip_search.labels"
"""Under which the schema of a Parquet file tells, as JSON, what its rows are: see `Task.about`."""

# Rows that are made and written together, and those that a kill costs at most: some seconds.
GROUP_ROWS = 1 << 20
PART_GROUPS = 8

_COPY_BYTES = 1 << 22
_DICTIONARY_BYTES = 16 << 20
"""Above what the names of a group's images take: they are written once, and not for each label."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file of so many rows and bytes. gone_on_after: images or groups of an earlier run, 0 of none."""

    rows: int
    size_bytes: int
    gone_on_after: int


def require_writable(path: Path, formats: Sequence[str], overwrite: bool) -> None:
    """Raise UnusableFile unless a file of one of these kinds may be written at `path`."""
    if path.suffix not in formats:
        raise UnusableFile(
            f"{path}: unknown kind of file. Name it {' or '.join('*' + one for one in formats)}"
        )
    if path.is_dir():
        raise UnusableFile(f"{path}: a folder. Name a file")
    if path.exists() and not overwrite:
        raise UnusableFile(f"{path}: there is a file already. Pass --overwrite, or name another")
    if not path.parent.is_dir():
        raise UnusableFile(f"{path}: its folder does not exist. Make it, or name another place")


def write(
    task: Task,
    path: Path,
    summary: Summary,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
) -> Written:
    """Write the rows of a task into the file at `path`, which is there whole or not at all. Bounded memory.

    A run that was killed is gone on with by the next one that is asked for the same of a gallery that did not
    change; the file is then the same as that of a run in one go. summary: everything is added to it.
    say: is told if parts of an earlier run are used, or not. Raises UnusableFile, InvalidQuery.
    """
    require_writable(path, FORMATS, overwrite)
    count = task.count
    with parts_of(path, {**task.plan(), "group_rows": _blocks_of_group(task) * BLOCK_ROWS}) as parts:
        for note in parts.notes:
            summary.add_saved(note)
        before = summary.count
        if parts.begun_anew:
            say(f"{path}: parts of an earlier run are left aside, {parts.begun_anew}; beginning anew")
        if before:
            say(f"{path}: going on after {before} of {count} {task.of_what} of an earlier run")
        _write_parts(task, parts, summary, lambda done: progress(done, count, "labelled"))
        whole = parts.folder / f"whole{path.suffix}"
        join = _join_csv if path.suffix == ".csv" else _join_parquet
        join([parts.rows_of(number) for number in range(len(parts.notes))], whole)
        parts.finish(whole)
    return Written(count * len(task.labels), path.stat().st_size, before)


def _write_parts(task: Task, parts: Parts, summary: Summary, done: Callable[[int], None]) -> None:
    """Write the parts that are missing."""
    schema = rows_schema(task.keys, task.labeller.calibration is not None)
    schema = schema.with_metadata({KEY: json.dumps(task.about(), sort_keys=True)})
    groups = _in_groups(task.blocks(summary.count), _blocks_of_group(task))
    for first in groups:
        of_part = Summary(task.labels)
        with _writer(parts.begin(), parts.path.suffix, schema, is_first=not parts.notes) as write_rows:
            for group in chain([first], islice(groups, PART_GROUPS - 1)):
                of_part.add(group.labelled)
                write_rows(long_rows(group, task.labels).replace_schema_metadata(schema.metadata))
                done(summary.count + of_part.count)
        parts.end(of_part.saved())
        summary.add_saved(of_part.saved())


def _blocks_of_group(task: Task) -> int:
    return max(1, round(GROUP_ROWS / (BLOCK_ROWS * len(task.labels))))


def _in_groups(blocks: Iterator[LabelledBlock], size: int) -> Iterator[LabelledBlock]:
    while group := list(islice(blocks, size)):
        yield joined(group)


Write = Callable[[pa.Table], None]


@contextmanager
def _writer(path: Path, suffix: str, schema: pa.Schema, is_first: bool) -> Iterator[Write]:
    """Yield what writes tables into a part."""
    if suffix == ".csv":
        with path.open("wb") as file:
            options = iter([is_first])
            yield lambda rows: pa_csv.write_csv(
                _plain(rows), file, pa_csv.WriteOptions(include_header=next(options, False))
            )
        return
    # As little work as can be: the whole file is written once more.
    with _parquet(path, schema, "none") as writer:
        yield lambda rows: writer.write_table(rows, row_group_size=len(rows))


def _plain(rows: pa.Table) -> pa.Table:
    """Return the rows without dictionaries, which the writer of CSV takes more time for."""
    plain = pa.schema(
        [(one.name, pa.string() if pa.types.is_dictionary(one.type) else one.type) for one in rows.schema]
    )
    return rows.replace_schema_metadata(None).cast(plain)


def _parquet(path: Path, schema: pa.Schema, compression: str) -> pq.ParquetWriter:
    numbers = ("score", "probability", "calibrated")
    return pq.ParquetWriter(
        path,
        schema,
        compression=compression,
        # Hardly two scores are alike.
        use_dictionary=[name for name in schema.names if name not in numbers],
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
    )


def _join_parquet(parts: Sequence[Path], whole: Path) -> None:
    schema = pq.read_schema(parts[0])
    text = [one.name for one in schema if pa.types.is_dictionary(one.type)]
    with _parquet(whole, schema, "zstd") as writer:
        for part in parts:
            with pq.ParquetFile(part, read_dictionary=text) as file:
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group).unify_dictionaries()
                    writer.write_table(rows.combine_chunks(), row_group_size=len(rows))


def _join_csv(parts: Sequence[Path], whole: Path) -> None:
    with whole.open("wb") as file:
        for part in parts:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file, _COPY_BYTES)
