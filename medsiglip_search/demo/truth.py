"""What the synthetic archive shows, as a truth table: for each picture and finding, 1 or 0."""

import csv
from pathlib import Path

from medsiglip_search.demo.cases import without_side
from medsiglip_search.demo.findings import MODALITIES

FINDINGS = tuple(finding.name for modality in MODALITIES for finding in modality.findings)


def write_truth(metadata: Path, out: Path) -> None:
    """Write the truth table of an archive whose metadata.csv this is; sides are left out."""
    with (
        metadata.open(encoding="utf-8", newline="") as source,
        out.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "patient", *FINDINGS])
        for row in csv.DictReader(source):
            shown = {without_side(label) for label in row["findings"].split(";")}
            table.writerow([row["path"], row["patient"], *(int(finding in shown) for finding in FINDINGS)])
