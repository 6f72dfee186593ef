"""Every file of pydicom's own test data as the project sees it, on one sheet: to be looked at.

python -m benchmarks.contact_sheet --out docs/pydicom_files.jpg
"""

import argparse
from pathlib import Path

import pydicom
from PIL import Image, ImageDraw, ImageFont

from medsiglip_search.errors import Unreadable
from medsiglip_search.images.guard import Guard
from medsiglip_search.records import Picture

CELL, GAP, CAPTION, COLUMNS = 150, 8, 44, 12
INK, FAINT, PAPER = "#1b1f24", "#59636e", "#ffffff"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    data = Path(pydicom.__file__).parent / "data" / "test_files"
    pictures: list[tuple[Path, Picture]] = []
    rejected: list[tuple[Path, str]] = []
    with Guard(1) as guard:
        for path in sorted(path for path in data.rglob("*") if path.is_file()):
            try:
                pictures.append((path, guard.read(path)))
            except Unreadable as error:
                rejected.append((path, error.reason))
    sheet(pictures).save(out, quality=88)
    print(f"{len(pictures)} pictures, {len(rejected)} rejected")
    for path, reason in rejected:
        print(f"{reason:20} {path.relative_to(data)}")


def sheet(pictures: list[tuple[Path, Picture]]) -> Image.Image:
    """Return the pictures in rows, each with its name, its size and what was assumed."""
    rows = -(-len(pictures) // COLUMNS)
    page = Image.new("RGB", (GAP + COLUMNS * (CELL + GAP), GAP + rows * (CELL + CAPTION + GAP)), PAPER)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(10)
    for place, (path, picture) in enumerate(pictures):
        left = GAP + place % COLUMNS * (CELL + GAP)
        top = GAP + place // COLUMNS * (CELL + CAPTION + GAP)
        small = Image.fromarray(picture.pixels)
        enlarged = CELL // max(small.size)
        if enlarged > 1:
            small = small.resize((small.width * enlarged, small.height * enlarged), Image.Resampling.NEAREST)
        small.thumbnail((CELL, CELL))
        page.paste(small, (left + (CELL - small.width) // 2, top + (CELL - small.height) // 2))
        height, width = picture.pixels.shape[:2]
        size = f"{picture.attributes.modality or '?'} {width} x {height}"
        frames = f", {picture.frame + 1} of {picture.frame_count}" if picture.frame_count > 1 else ""
        for line, (text, colour) in enumerate(
            [(path.name[:27], INK), (size + frames, FAINT), (", ".join(picture.flags)[:27], FAINT)]
        ):
            draw.text((left, top + CELL + 2 + 13 * line), text, colour, font)
    return page


if __name__ == "__main__":
    main()
