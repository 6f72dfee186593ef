"""Evaluating as a job: how good labels and search are on a gallery, against an uploaded truth table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import InvalidQuery, NotFound
from medsiglip_search.evaluate.comparison import Comparison, Joining, compare
from medsiglip_search.evaluate.page import page
from medsiglip_search.evaluate.report import report_json, row_json, rows
from medsiglip_search.evaluate.run import Evaluation, Settings, evaluate
from medsiglip_search.files import write_file
from medsiglip_search.labels.shipped import shipped_names
from medsiglip_search.service.jobs.course import Course
from medsiglip_search.service.jobs.telling import by_name
from medsiglip_search.truth import read_truth

REPORT, PAGE = "report.json", "report.html"
TABLE = "truth.csv"
JOINING, SETTINGS = Joining(), Settings()


@dataclass(frozen=True, slots=True)
class EvaluateWork:
    """Evaluates the gallery at `path`, which users know as `name`, against a table.

    table: CSV, see `read_truth`. labels: names of shipped label sets; of none only search is evaluated.
    Raises NotFound for another label set, InvalidQuery for one that is named twice.
    """

    name: str
    path: Path
    encoder: Encoder
    table: bytes
    labels: tuple[str, ...] = ()
    joining: Joining = JOINING
    settings: Settings = SETTINGS

    def __post_init__(self) -> None:
        # Any other name could be that of a file of the service.
        if not set(self.labels) <= set(shipped_names()):
            raise NotFound(f"there is no label set of such a name; there are {', '.join(shipped_names())}")
        if len(set(self.labels)) < len(self.labels):
            raise InvalidQuery("the same label set is named twice; name each once")

    def __call__(self, course: Course) -> dict[str, Any]:
        """Return the figures that are means over labels, as `evaluate --json` prints them, and counts."""
        table = course.folder / TABLE
        names = {str(self.path): self.name, str(table): "the table", str(course.folder): "the job"}
        try:
            write_file(table, self.table, mode=0o600)
            with by_name(names):
                return self._evaluate(table, course)
        finally:
            table.unlink(missing_ok=True)

    def _evaluate(self, path: Path, course: Course) -> dict[str, Any]:
        def show(done: int, total: int, word: str) -> None:
            course.require_wanted()
            course.tell(done, total, word)

        table = read_truth(path)
        comparison = compare([self.path], table, self.labels, (), self.joining, lambda gallery: self.encoder)
        evaluation = evaluate(self._named(comparison), table, self.settings, show)
        course.require_wanted()
        report = self._report(evaluation)
        content = json.dumps(report, indent=1, allow_nan=False) + "\n"
        write_file(course.files / REPORT, content.encode())
        write_file(course.files / PAGE, page(evaluation, report).encode())
        return {
            "images": evaluation.images,
            "patients": evaluation.patients,
            "queries": evaluation.queries,
            "figures": [row_json(row) for row in rows(evaluation) if row.label is None],
        }

    def _named(self, comparison: Comparison) -> Comparison:
        """Return the comparison with the name that users know, and not that of the folder."""
        return replace(comparison, sides=tuple(replace(side, name=self.name) for side in comparison.sides))

    def _report(self, evaluation: Evaluation) -> dict[str, Any]:
        """Return the report without the places of the gallery and its archives."""
        report = report_json(evaluation, self.joining)
        report["galleries"] = [self._without_places(gallery) for gallery in report["galleries"]]
        return report

    def _without_places(self, gallery: Mapping[str, Any]) -> dict[str, Any]:
        archives = [f"archive {number}" for number, _ in enumerate(gallery["archives"], start=1)]
        return {**gallery, "path": self.name, "archives": archives}
