"""The training command, far too short to learn anything, but whole."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from medsiglip_search.demo.pool import FINDINGS, draw_pool
from medsiglip_search.encoders import DEMO_FOLDER, load_encoder


def test_training_writes_a_checkpoint_of_the_shipped_layout(tmp_path: Path):
    command = [sys.executable, "-m", "medsiglip_search.demo.train", "--out", tmp_path / "weights"]
    subprocess.run([*command, "--steps", "2", "--pictures", "96"], check=True, capture_output=True)
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == sorted(
        path.name for path in DEMO_FOLDER.iterdir()
    )
    encoder, shipped = load_encoder(tmp_path / "weights"), load_encoder("demo")
    assert (encoder.dim, encoder.spec) == (shipped.dim, shipped.spec)
    text = encoder.embed_texts(["left pleural effusion", "no pneumothorax"])
    assert np.allclose(np.linalg.norm(text, axis=1), 1, atol=1e-5)
    tokenizer = (tmp_path / "weights" / "tokenizer.json").read_text()
    assert tokenizer == (DEMO_FOLDER / "tokenizer.json").read_text()


def test_the_patches_of_a_finding_and_of_its_side_are_marked():
    pool = draw_pool(seed=1, pictures=40)
    for places, (_, signs) in zip(pool.places, pool.cases, strict=True):
        marked = {FINDINGS[column] for column in np.flatnonzero(places.any(axis=(0, 1)))}
        assert marked == {name for sign in signs for name in (sign.finding, sign.label)}
