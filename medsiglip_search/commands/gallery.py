"""Looking after a gallery: what it holds, and keeping it small and safe."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from medsiglip_search import terminal, wire
from medsiglip_search.commands.options import AsJson, GalleryPath
from medsiglip_search.commands.output import print_cells, print_json, say_what_demo_knows
from medsiglip_search.errors import MedSiglipSearchError, Reason
from medsiglip_search.terminal import note

KEEP_HOURS = 1.0


def inspect(
    gallery: GalleryPath,
    runs: Annotated[bool, typer.Option("--runs", help="List the runs of index, the latest first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a gallery holds."""
    from medsiglip_search.gallery import Gallery

    opened = Gallery.open(gallery)
    if runs:
        _print_rows(map(asdict, opened.runs()), terminal.RUN_HEADER, terminal.run_cells, as_json, "no run")
        return
    contents = wire.gallery_json(opened)
    if as_json:
        print_json([contents])
        return
    print_cells(terminal.gallery_cells(contents))
    say_what_demo_knows(contents["encoder"])


def rejected(
    gallery: GalleryPath,
    reason: Annotated[list[Reason] | None, typer.Option(help="These alone; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="CSV", help="Write a table instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the files without embedding, and why."""
    from medsiglip_search.gallery import Gallery

    listed = [one for one in Gallery.open(gallery).rejected() if not reason or one.reason in reason]
    rows = [wire.rejected_json(one) for one in listed]
    if out is not None:
        _write_csv(out, [{"archive": file.archive, **row} for file, row in zip(listed, rows, strict=True)])
        note(f"{len(rows)} rejections written to {out}")
    else:
        header = ("reason", "file", "why")
        _print_rows(rows, header, terminal.rejected_cells, as_json, "nothing is rejected")


def compact(
    gallery: GalleryPath,
    keep: Annotated[
        float,
        typer.Option(
            min=0, show_default=True, metavar="HOURS", help="How long versions stay for those who read them."
        ),
    ] = KEEP_HOURS,
    as_json: AsJson = False,
) -> None:
    """Make a gallery small and quick again: many small files become few, and old versions go."""
    from medsiglip_search.gallery import Gallery

    with Gallery.open(gallery).writer() as writer:
        compaction = asdict(writer.compact(timedelta(hours=keep)))
    if as_json:
        print_json([compaction])
    else:
        print_cells(terminal.compaction_cells(compaction))
    if keep and compaction["bytes_after"] > compaction["bytes_before"]:
        note(f"Versions of the last {keep:g} h are still there for those who read them; --keep 0 drops them.")


def delete(
    gallery: GalleryPath,
    where: Annotated[str, typer.Option(help="SQL condition, such as \"patient = 'a1b2'\".")],
    purge: Annotated[
        bool, typer.Option("--purge", help="Also from old versions and derived files, for good.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take images out of a gallery.

    They are gone from search at once. Without --purge their bytes leave the disk with a later compact.
    """
    from medsiglip_search.gallery import Gallery

    opened = Gallery.open(gallery)
    with opened.writer() as writer:
        deletion = writer.delete(where, for_good=purge)
        if purge:
            writer.purge()
    result = {
        "deleted": deletion.images,
        "rejected": deletion.rejected,
        "purged": purge,
        "images": len(opened),
    }
    if as_json:
        print_json([result])
    else:
        print_cells(terminal.deletion_cells(result))
    if deletion.images:
        note("A file that is still in its archive comes back with the next index run; take it out there too.")


def backup(
    gallery: GalleryPath,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the copy goes.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Copy a gallery as it stands now, also while it is written to."""
    from medsiglip_search.backup import back_up
    from medsiglip_search.gallery import Gallery

    copy = back_up(Gallery.open(gallery), to)
    result = {"images": len(copy), "size_bytes": copy.size_bytes(), "backup": str(to)}
    if as_json:
        print_json([result])
    else:
        print_cells(terminal.backup_cells(result))


def _print_rows(
    rows: Iterable[Mapping[str, Any]],
    header: Sequence[str],
    cells: terminal.Cells,
    as_json: bool,
    without: str,
) -> None:
    """Print objects as JSON or as a table; the word `without` where there is none."""
    if as_json:
        print_json(rows)
        return
    table = [cells(row) for row in rows]
    print_cells([header, *table] if table else [(without,)])


def _write_csv(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    names = ["archive", "uri", "frame", "reason", "message"]
    try:
        with out.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(rows)
    except OSError as error:
        message = f"{out}: cannot be written: {error.strerror}. Give --out another name"
        raise MedSiglipSearchError(message) from None
