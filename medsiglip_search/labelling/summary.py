"""What labels come to over a whole gallery: counts, shares, a bar for each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medsiglip_search.errors import UnusableFile
from medsiglip_search.labels.labeller import ABSENT, ABSTAIN, DECISIONS, PRESENT, Labelled

PLOTS = (".png", ".svg")
_COLOURS = {"present": "#c0392b", "abstain": "#d5c27a", "absent": "#dfe4e8"}


class Summary:
    """Counts of decisions and sums of probabilities, by label, over what was added."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.count = 0
        self._decisions = np.zeros((len(DECISIONS), len(labels)), np.int64)
        self._probabilities = np.zeros(len(labels))

    def add(self, labelled: Labelled) -> None:
        """Count some more images, or groups of them."""
        decisions, best = labelled.decisions, labelled.best
        self.count += len(decisions)
        # A product adds up the rows of a block ten times as fast as a sum or a count does.
        ones = np.ones(len(decisions), np.float32)
        present, abstain = (
            np.rint(ones @ (decisions == number)).astype(np.int64) for number in (PRESENT, ABSTAIN)
        )
        self._decisions[[ABSENT, PRESENT, ABSTAIN]] += [len(decisions) - present - abstain, present, abstain]
        self._probabilities += ones @ best

    def add_saved(self, saved: Mapping[str, Any]) -> None:
        """Count what another summary of the same labels has counted: what it `saved`."""
        decisions = np.array(saved["decisions"], np.int64).reshape(self._decisions.shape)
        probabilities = np.array(saved["probabilities"], np.float64).reshape(self._probabilities.shape)
        self.count += int(saved["count"])
        self._decisions += decisions
        self._probabilities += probabilities

    def saved(self) -> dict[str, Any]:
        """Return what `add_saved` takes; as JSON has it."""
        return {
            "count": self.count,
            "decisions": self._decisions.tolist(),
            "probabilities": self._probabilities.tolist(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one object for each label, as JSON has it.

        share: of the images or groups in which it is present. mean_probability: calibrated where it can be.
        """
        rows = []
        for column, label in enumerate(self.labels):
            counts = {word: int(self._decisions[number, column]) for number, word in enumerate(DECISIONS)}
            rows.append(
                {
                    "label": label,
                    **{word: counts[word] for word in ("present", "absent", "abstain")},
                    "share": counts["present"] / self.count,
                    "mean_probability": float(self._probabilities[column] / self.count),
                }
            )
        return rows


def draw(summary: Summary, path: Path, title: str) -> None:
    """Write a picture, PNG or SVG, with a bar for each label: the shares present, abstained and absent.

    Raises UnusableFile if it cannot be written.
    """
    from matplotlib.figure import Figure

    rows = summary.rows()
    # A fifth of an inch keeps names of this size apart, be there 5 labels or 100.
    figure = Figure(figsize=(8, 1.4 + 0.2 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    left = np.zeros(len(rows))
    for word, colour in _COLOURS.items():
        shares = np.array([row[word] / summary.count for row in rows])
        axes.barh(places, shares, left=left, height=0.75, color=colour, label=word)
        left += shares
    axes.set_yticks(places, [row["label"] for row in rows], fontsize=8, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
    axes.set_xlabel(f"share of {summary.count}")
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise UnusableFile(f"{path}: cannot be written: {error.strerror}. Name another place") from None
