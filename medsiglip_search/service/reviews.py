"""What people say of labels, kept as one line of JSON each; nothing that is written changes any more.

STATE/reviews/GALLERY.jsonl: an answer replaces those that the same person gave before about the same.
"""

import fcntl
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from medsiglip_search.labels.labeller import DECISIONS

Answer = Literal["agree", "disagree", "unsure"]
Decision = Literal["present", "absent", "abstain"]
assert set(DECISIONS) == {"present", "absent", "abstain"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Review:
    """What one person says of one label of one image.

    decision: what the label set had said. answer: None takes back what was said before. With a decision to
    abstain, to agree is to say that the label is right. when: ISO 8601, UTC.
    """

    label_set: str
    label_set_digest: str
    label: str
    image_id: int
    decision: Decision
    answer: Answer | None
    who: str
    when: str

    @property
    def is_present(self) -> bool | None:
        """Whether the image shows the label, as the person says; None if they are not sure."""
        if self.answer not in ("agree", "disagree"):
            return None
        return (self.decision != "absent") == (self.answer == "agree")


_REVIEW = TypeAdapter(Review)


def add_review(folder: Path, gallery: str, review: Review) -> None:
    """Write a review; it is on the disk, or OSError is raised and it is not there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = json.dumps(asdict(review), separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(_place(folder, gallery), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        end = _end_of_lines(descriptor)
        try:
            os.ftruncate(descriptor, end)
            if os.pwrite(descriptor, line, end) < len(line):
                raise OSError("the disk takes no more")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)


def read_reviews(folder: Path, gallery: str) -> list[Review]:
    """Return what counts: of each person the last answer about each label of each image, in their order.

    Lines that cannot be read are passed over, and the log says how many. Raises OSError.
    """
    try:
        lines = _place(folder, gallery).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    last: dict[tuple[str, str, int, str], Review] = {}
    damaged = 0
    for line in lines:
        try:
            review = _REVIEW.validate_json(line)
        except ValueError:
            damaged += 1
            continue
        key = (review.label_set_digest, review.label, review.image_id, review.who)
        last.pop(key, None)
        if review.answer is not None:
            last[key] = review
    if damaged:
        log.warning("reviews: lines that cannot be read: %d", damaged)
    return list(last.values())


def agreed(reviews: Sequence[Review]) -> dict[int, dict[str, bool | None]]:
    """Return what people say of each image's labels; None where they are not sure, or not of one mind."""
    said: dict[int, dict[str, bool | None]] = {}
    for review in reviews:
        of_image = said.setdefault(review.image_id, {})
        earlier = of_image.setdefault(review.label, review.is_present)
        if earlier != review.is_present:
            of_image[review.label] = None
    return said


def _place(folder: Path, gallery: str) -> Path:
    return folder / f"{gallery}.jsonl"


def _end_of_lines(descriptor: int) -> int:
    """Return where the last whole line ends: what a killed process has half written is written over."""
    size = os.fstat(descriptor).st_size
    while size:
        start = max(0, size - (1 << 16))
        found = os.pread(descriptor, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0
