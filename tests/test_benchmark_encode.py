"""The benchmark of encoders runs from end to end on a tiny model."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_all_sections_give_figures_and_a_plot(tmp_path: Path) -> None:
    options = ["--size", "tiny", "--images", "2", "--files", "8", "--rounds", "1", "--precisions", "fp32"]
    out, plot = tmp_path / "encode.json", tmp_path / "encode.png"
    command = [sys.executable, "-m", "benchmarks.encode", *options, "--no-timm"]

    subprocess.run([*command, "--json", str(out), "--plot", str(plot)], cwd=ROOT, check=True)

    figures = {figure["name"]: figure["value"] for figure in json.loads(out.read_text())["figures"]}
    assert figures["ours, fp32: least cosine"] >= 0.9999
    assert figures["a known query, fp32: times as fast as new"] > 1
    assert figures["memory of index --precision bf16: its own process"] > 0.1
    assert plot.read_bytes().startswith(b"\x89PNG")
