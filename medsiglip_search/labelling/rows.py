"""What is written: one row for each image, or group of images, and label."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from medsiglip_search.labelling.run import LabelledBlock
from medsiglip_search.labels.labeller import DECISIONS, Labelled

_TEXT = pa.dictionary(pa.int32(), pa.string())


def rows_schema(keys: pa.Schema, has_calibration: bool) -> pa.Schema:
    """Return the columns of `long_rows` for blocks of such keys."""
    columns = [(field.name, _TEXT if field.type == pa.string() else field.type) for field in keys]
    numbers = ["score", "probability", *(["calibrated"] if has_calibration else [])]
    return pa.schema(
        [*columns, ("label", _TEXT), *((name, pa.float32()) for name in numbers), ("decision", _TEXT)]
    )


def long_rows(block: LabelledBlock, labels: Sequence[str]) -> pa.Table:
    """Return N x L rows, the labels of one image after those of another; text as dictionaries.

    calibrated: only with a calibration; null for a label that has none.
    """
    count, labelled = len(block), block.labelled
    of_key = pa.array(np.repeat(np.arange(count, dtype=np.int32), len(labels)))
    columns: dict[str, Any] = {}
    for name, column in zip(block.keys.schema.names, block.keys.columns, strict=True):
        is_text = column.type == pa.string()
        columns[name] = (column.dictionary_encode() if is_text else column).take(of_key)
    of_label = np.tile(np.arange(len(labels), dtype=np.int32), count)
    columns["label"] = pa.DictionaryArray.from_arrays(of_label, pa.array(labels, pa.string()))
    columns["score"] = labelled.scores.ravel()
    columns["probability"] = labelled.probabilities.ravel()
    if labelled.calibrated is not None:
        columns["calibrated"] = pa.array(labelled.calibrated.ravel(), from_pandas=True)  # NaN becomes null
    decisions = pa.array(labelled.decisions.ravel()).cast(pa.int32())
    columns["decision"] = pa.DictionaryArray.from_arrays(decisions, pa.array(DECISIONS))
    return pa.table(columns, rows_schema(block.keys.schema, labelled.calibrated is not None))


def json_rows(block: LabelledBlock, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the same rows as JSON has them."""
    keys = block.keys.drop_columns(["archive"]) if "archive" in block.keys.schema.names else block.keys
    yield from long_rows(LabelledBlock(keys, block.labelled), labels).to_pylist()


def joined(blocks: Sequence[LabelledBlock]) -> LabelledBlock:
    """Return the blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    many = [block.labelled for block in blocks]
    calibrated = [one.calibrated for one in many if one.calibrated is not None]
    labelled = Labelled(
        np.concatenate([one.scores for one in many]),
        np.concatenate([one.probabilities for one in many]),
        np.concatenate(calibrated) if calibrated else None,
        np.concatenate([one.decisions for one in many]),
    )
    return LabelledBlock(pa.concat_batches([block.keys for block in blocks]), labelled)


def sliced(block: LabelledBlock, start: int) -> LabelledBlock:
    """Return the block without its first `start`."""
    old = block.labelled
    calibrated = None if old.calibrated is None else old.calibrated[start:]
    labelled = Labelled(old.scores[start:], old.probabilities[start:], calibrated, old.decisions[start:])
    return LabelledBlock(block.keys.slice(start), labelled)
