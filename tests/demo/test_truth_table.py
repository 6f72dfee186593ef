"""The truth table of the synthetic archive."""

import csv
from pathlib import Path

from medsiglip_search.demo.findings import MODALITIES
from medsiglip_search.demo.truth import write_truth

METADATA = """path,patient,study,modality,findings,boxes,report
a.dcm,P1,S1,CR,left pleural effusion;cardiomegaly,1 2 3 4;,Chest radiograph.
b.png,P2,S2,SM,,,Normal tissue.
"""


def test_each_finding_has_a_column_and_sides_are_left_out(tmp_path: Path):
    (tmp_path / "metadata.csv").write_text(METADATA)
    write_truth(tmp_path / "metadata.csv", tmp_path / "truth.csv")
    with open(tmp_path / "truth.csv", newline="") as file:
        first, second = csv.DictReader(file)
    names = [finding.name for modality in MODALITIES for finding in modality.findings]
    assert list(first) == ["path", "patient", *names]
    assert {name for name in names if first[name] == "1"} == {"pleural effusion", "cardiomegaly"}
    assert [second[name] for name in ("path", "patient", *names)] == ["b.png", "P2", *["0"] * len(names)]
