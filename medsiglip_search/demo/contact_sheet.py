"""A picture of queries and their hits: thumbnails, scores and what is recorded about them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medsiglip_search.records import Hit

CELL, GAP, CAPTION, TITLE = 168, 12, 54, 34
INK, FAINT, PAPER, RIGHT, WRONG = "#1b1f24", "#59636e", "#ffffff", "#1a7f37", "#b35900"


@dataclass(frozen=True, slots=True)
class Row:
    """One query and its hits.

    picture: (rows, columns, 3) uint8 of an image query. thumbnails: encoded, one for each hit.
    right: whether each hit is what was asked for.
    """

    title: str
    hits: Sequence[Hit]
    thumbnails: Sequence[bytes]
    right: Sequence[bool]
    picture: np.ndarray | None = None


def contact_sheet(heading: str, rows: Sequence[Row]) -> Image.Image:
    """Return the sheet: one line for each query, its hits best first."""
    cells = max(len(row.hits) + (row.picture is not None) for row in rows)
    height = CELL + CAPTION + TITLE + GAP
    sheet = Image.new("RGB", (GAP + cells * (CELL + GAP), 56 + len(rows) * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 16), heading, INK, _font(20))
    for index, row in enumerate(rows):
        top = 56 + index * height
        draw.text((GAP, top), row.title, INK, _font(16))
        left = GAP
        if row.picture is not None:
            _cell(sheet, draw, Image.fromarray(row.picture), left, top + TITLE, FAINT, ("query", ""))
            left += CELL + GAP
        for hit, thumbnail, right in zip(row.hits, row.thumbnails, row.right, strict=True):
            findings = str(hit.instance.sidecar.get("findings") or "normal").replace(";", ", ")
            caption = (f"{hit.rank}.  score {hit.score:.2f}  relevance {hit.relevance:.1f}", findings)
            picture = Image.open(io.BytesIO(thumbnail))
            _cell(sheet, draw, picture, left, top + TITLE, RIGHT if right else WRONG, caption)
            left += CELL + GAP
    return sheet


def _cell(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    picture: Image.Image,
    left: int,
    top: int,
    frame: str,
    caption: tuple[str, str],
) -> None:
    picture = picture.convert("RGB")
    picture.thumbnail((CELL - 6, CELL - 6))
    draw.rectangle((left, top, left + CELL, top + CELL), "#000000", frame, 3)
    sheet.paste(picture, (left + (CELL - picture.width) // 2 + 1, top + (CELL - picture.height) // 2 + 1))
    draw.text((left, top + CELL + 5), caption[0], frame, _font(12))
    for line, words in enumerate(_wrapped(draw, caption[1])):
        draw.text((left, top + CELL + 20 + 14 * line), words, INK, _font(12))


def _wrapped(draw: ImageDraw.ImageDraw, text: str) -> list[str]:
    """Return at most two lines that fit under a cell."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, _font(12)) <= CELL:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:2] if len(lines) <= 2 else [lines[0], lines[1] + " ..."]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
