"""How fast and how true pictures and texts become embeddings: `python -m benchmarks.encode`.

    bound       what this machine multiplies, copies and decodes: no encoder goes beyond
    images      ours in each precision, and peers, each in turn with AutoModel in float32
    texts       a query over the text tower's bare pass; texts and zero-shot logits beside SiglipModel
    memory      the peaks of an index run in a process of its own
    files       indexing JPEG files over embedding alone

Without --checkpoint one of random weights is made, of MedSigLIP's size by default: 3.5 GB in a temporary
folder, and as much again for OpenVINO. Pictures are drawn. Each line names the bound that it must keep; those
on speed are for large models only. On a processor that takes ten seconds for a picture, all takes an hour.

Peers: AutoModel of transformers in float32 as the notebook that Google publishes uses it, one picture at a
time on a processor and 64 on a GPU, and in bfloat16 where the device multiplies that; timm's network of the
same shape by torch.compile (not with --no-timm). Their pictures lie on the device already; ours come from
memory of the machine.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.encode_bound import bound
from benchmarks.encode_files import files, memory
from benchmarks.encode_images import images
from benchmarks.encode_inputs import Task, draw_archive, entries, first_files, read
from benchmarks.encode_plot import draw
from benchmarks.encode_texts import texts
from benchmarks.figures import Figure, report, require_all
from medsiglip_search.devices import multiplies_bf16
from medsiglip_search.encoders.calibration import SAMPLED
from medsiglip_search.encoders.image_towers import is_slow, openvino_library
from medsiglip_search.encoders.precision import chosen, target
from medsiglip_search.encoders.siglip.checkpoint import read_checkpoint
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.images.guard import Guard, Limits
from medsiglip_search.terminal import note

SECTIONS: dict[str, Callable[[Task], Iterator[Figure]]] = {
    "bound": bound,
    "images": images,
    "texts": texts,
    "memory": memory,
    "files": files,
}
IMAGES = {"slow": 4, "cpu": 32, "cuda": 512}
FILES = {"slow": 32, "cpu": 96, "cuda": 4096}
"""On a GPU so many that the first and the last batch, which nothing is done beside, hardly count."""

SLOW_SAMPLED = 8
"""Pictures that int8 is made with; `SAMPLED`, as the program takes them, cost minutes each way."""


def precisions(device: torch.device) -> list[str]:
    """Return in which numbers this machine computes faster than in others."""
    known = ["fp32", *(["bf16"] if multiplies_bf16(device) else [])]
    if device.type == "cpu":
        return [*known, *(["int8"] if openvino_library.is_installed() else [])]
    try:
        return [*known, chosen("fp8", device, 0)]
    except EncoderUnavailable:
        return known


@contextmanager
def made(options: argparse.Namespace, device: torch.device) -> Iterator[Task]:
    """Make what is measured with, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = read_checkpoint(options.checkpoint or _random(Path(scratch), options.size))
        pace = "slow" if is_slow(device, checkpoint.weights.parameters) else device.type
        count = options.images or IMAGES[pace]
        sampled = options.sample or (SLOW_SAMPLED if pace == "slow" else SAMPLED)
        drawn = max(options.files or FILES[pace], count + sampled)
        note(f"drawing {drawn} pictures, {count} of which are embedded")
        archive = draw_archive(Path(scratch) / "archive", drawn)
        few = first_files(archive, count, Path(scratch) / "few")
        with Guard(limits=Limits(timeout_s=60)) as guard:
            fitted = read(entries(archive, count + sampled), checkpoint.spec, guard)
        yield Task(
            Path(scratch),
            checkpoint,
            device,
            archive,
            few,
            fitted[:count],
            fitted[count:],
            options.rounds,
            options.precisions or precisions(device),
            options.timm,
        )


def _random(scratch: Path, size: str) -> Path:
    from tests.checkpoints import make_checkpoint

    note(f"making a checkpoint of random weights, {size}")
    return make_checkpoint(scratch / size, size=size, vocabulary=32_000)


def _listed(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="instead of random weights")
    parser.add_argument(
        "--size", choices=("medsiglip", "tiny"), default="medsiglip", help="of random weights"
    )
    parser.add_argument(
        "--images", type=int, help="pictures to embed; 4, 32 or 512, as fast as the machine is"
    )
    parser.add_argument("--files", type=int, help="JPEG files to decode, or on a GPU to index")
    parser.add_argument("--sample", type=int, help="pictures that int8 and fp8 are made with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--precisions", type=_listed, metavar="fp32,...", help="of ours, instead of the usual"
    )
    parser.add_argument("--only", type=_listed, default=list(SECTIONS), metavar="bound,...")
    parser.add_argument("--no-timm", dest="timm", action="store_false", help="without the compiled peer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw speed and truth")
    options = parser.parse_args()
    if unknown := set(options.only) - set(SECTIONS):
        parser.error(f"no section {sorted(unknown)[0]}; there are {', '.join(SECTIONS)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    try:
        device = target(options.device)
    except EncoderUnavailable as error:
        parser.error(str(error))
    libraries = [name for name in ("torch", "transformers", "timm", "openvino", "nncf") if find_spec(name)]
    with made(options, device) as task:
        figures = report((SECTIONS[name](task) for name in options.only), libraries, options.json)
    if options.plot:
        draw(figures, options.plot)
    require_all(figures)


if __name__ == "__main__":
    main()
