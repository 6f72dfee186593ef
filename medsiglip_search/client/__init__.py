"""A client of the service's API, for programs.

with Client("http://localhost:7860") as client:
    hits = client.search("demo", text="left pleural effusion", top_k=10).hits

It needs httpx and nothing else of this package. `docs/api.md` shows the rest.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, Unpack
from urllib.parse import quote

from medsiglip_search.client.calls import Calls, Problem, Unreachable
from medsiglip_search.client.values import (
    Event,
    Job,
    Picture,
    Question,
    Result,
    Value,
    job_of,
    result_of,
)

__all__ = ["Client", "Event", "Job", "Problem", "Question", "Result", "Unreachable"]

KEY_VARIABLE = "MEDSIGLIP_KEY"
LOOK_EVERY_S = 0.5


class Client:
    """Asks one service; close it after use, or use it in a `with`. For one thread."""

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 60.0) -> None:
        """url: of the service, such as https://search.example.org. key: that in MEDSIGLIP_KEY by default.

        timeout_s: how long the service may be silent.
        """
        self._calls = Calls(url, os.environ.get(KEY_VARIABLE) if key is None else key, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._calls.close()

    def galleries(self) -> list[dict[str, Any]]:
        """Return the galleries that the key opens: name, ready, images, problem."""
        return self._calls.json("GET", "/galleries")

    def search(self, gallery: str, *, cursor: str | None = None, **question: Unpack[Question]) -> Result:
        """Return a page of hits. cursor: of the page before, for the same question."""
        return self._page(gallery, {**self._asked(question), "cursor": cursor})

    def pages(self, gallery: str, **question: Unpack[Question]) -> Iterator[Result]:
        """Yield page after page of hits. Raises Problem (cursor-expired) where the gallery changes."""
        asked = self._asked(question)
        page = self._page(gallery, asked)
        yield page
        while page.cursor is not None:
            page = self._page(gallery, {**asked, "cursor": page.cursor})
            yield page

    def explain(self, gallery: str, **question: Unpack[Question]) -> Iterator[Event]:
        """Search, and yield the hits, pieces of text while a model speaks, and at last the explanation.

        Its model stops when the iterator is closed.
        """
        place, asked = f"{_place(gallery)}/explanations", self._asked(question)
        with closing(self._calls.events(place, asked)) as events:
            for kind, told in events:
                yield Event(kind, MappingProxyType(told))
                if kind == "explanation":
                    return
        raise Unreachable("the explanation broke off before its end; ask again")

    def image(self, gallery: str, image_id: int) -> dict[str, Any]:
        """Return what is known of an image: its columns, and the image_ids of its series."""
        return self._calls.json("GET", _image(gallery, image_id))

    def thumbnail(self, gallery: str, image_id: int) -> bytes:
        """Return the small JPEG of an image, b"" where the gallery keeps none."""
        return self._calls.content("GET", f"{_image(gallery, image_id)}/thumbnail")

    def picture(
        self, gallery: str, image_id: int, *, frame: int | None = None, window: str | None = None
    ) -> bytes:
        """Return an image at its full size, a PNG. window: a name, such as lung, or "CENTRE,WIDTH"."""
        chosen = {"frame": frame, "window": window}
        given = {name: value for name, value in chosen.items() if value is not None}
        return self._calls.content("GET", f"{_image(gallery, image_id)}/picture", params=given)

    def heatmap(self, gallery: str, image_id: int, text: str, *, opacity: float = 0.6) -> bytes:
        """Return an image coloured where it answers `text`, a PNG. opacity: of the colours, 0 to 1."""
        asked = {"text": text, "opacity": opacity}
        return self._calls.content("POST", f"{_image(gallery, image_id)}/heatmap", json=asked)

    def label(
        self,
        gallery: str,
        label_set: str | None = None,
        *,
        yaml: str | None = None,
        where: str | None = None,
        filters: Mapping[str, Sequence[Value]] | None = None,
        group_by: Literal["study", "series", "patient"] | None = None,
    ) -> Job:
        """Start labelling, and return the job. label_set: one that comes along; yaml: one of your own."""
        asked = {
            "label_set": label_set,
            "yaml": yaml,
            "where": where,
            "filters": filters or {},
            "group_by": group_by,
        }
        return job_of(self._calls.json("POST", f"{_place(gallery)}/label-runs", json=asked))

    def index(
        self, gallery: str, archives: Sequence[str], *, prune: bool = False, retry_rejected: bool = False
    ) -> Job:
        """Start bringing a gallery up to date with archives that the service knows, and return the job."""
        asked = {"archives": list(archives), "prune": prune, "retry_rejected": retry_rejected}
        return job_of(self._calls.json("POST", f"{_place(gallery)}/index-runs", json=asked))

    def evaluate(
        self,
        gallery: str,
        truth: Path | str | bytes,
        *,
        label_sets: Sequence[str] = (),
        retrieval: bool = True,
    ) -> Job:
        """Start measuring labels and search against a truth table, and return the job.

        truth: where the CSV file is, or its bytes. retrieval: whether search is measured, too.
        """
        return job_of(
            self._calls.json(
                "POST",
                f"{_place(gallery)}/evaluations",
                files={"truth": _bytes(truth)},
                data={"label_sets": list(label_sets), "retrieval": str(retrieval).lower()},
            )
        )

    def job(self, job: Job | str) -> Job:
        """Return a job as it is now. job: itself, or its id."""
        return job_of(self._calls.json("GET", _job_place(job)))

    def wait(self, job: Job | str, tell: Callable[[Job], object] = lambda job: None) -> Job:
        """Return a job when it has ended; its `state` says how. tell: takes it whenever it has changed."""
        told: Job | None = None
        while True:
            now = self.job(job)
            if now != told:
                tell(now)
            if now.has_ended:
                return now
            told = now
            time.sleep(LOOK_EVERY_S)

    def cancel(self, job: Job | str) -> Job:
        """Tell a job to end, and return it as it is now."""
        return job_of(self._calls.json("DELETE", _job_place(job)))

    def download(self, job: Job | str, name: str, path: Path | str) -> Path:
        """Write a file of a job to `path`, whole or not at all, and return that."""
        path = Path(path)
        beside = path.with_name(f".{path.name}.part")
        try:
            place = f"{_job_place(job)}/files/{_quoted(name)}"
            with self._calls.answer("GET", place) as answer, beside.open("wb") as file:
                for piece in answer.iter_bytes():
                    file.write(piece)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        return path

    def _asked(self, question: Question) -> dict[str, Any]:
        """Return a question as JSON has it, its pictures uploaded."""
        asked: dict[str, Any] = {name: value for name, value in question.items() if value is not None}
        if "images" in question:
            asked["images"] = [{"upload": self._upload(picture)} for picture in question["images"]]
        return asked

    def _upload(self, picture: Picture) -> str:
        return self._calls.json("POST", "/uploads", files={"file": _bytes(picture)})["upload"]

    def _page(self, gallery: str, asked: Mapping[str, Any]) -> Result:
        return result_of(self._calls.json("POST", f"{_place(gallery)}/searches", json=asked))


def _place(gallery: str) -> str:
    return f"/galleries/{_quoted(gallery)}"


def _image(gallery: str, image_id: int) -> str:
    return f"{_place(gallery)}/images/{image_id}"


def _job_place(job: Job | str) -> str:
    return f"/jobs/{_quoted(job.id if isinstance(job, Job) else job)}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _bytes(file: Path | str | bytes) -> bytes:
    return file if isinstance(file, bytes) else Path(file).read_bytes()
