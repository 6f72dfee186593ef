"""Checkpoints by name: a folder, or one of the Hugging Face hub; no pickle and no code is fetched."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medsiglip_search.errors import MedSiglipSearchError

CHECKPOINT_FILES = (
    "config.json",
    "open_clip_config.json",  # by which a checkpoint of OpenCLIP is told apart
    "preprocessor_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
)


def is_whole(folder: Path) -> bool:
    """Tell whether a checkpoint's configuration, weights and tokenizer are all there."""
    shards = [name for index in folder.glob("*.safetensors.index.json") for name in _named(index)]
    parts = ("config.json", "*.safetensors", "tokenizer*")
    return all(any(folder.glob(pattern)) for pattern in parts) and all(
        (folder / name).is_file() for name in shards
    )


def _named(index: Path) -> set[str]:
    """Return the files that an index of weights names; none of a damaged one, which who reads it tells."""
    try:
        return {str(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a checkpoint is.

    name: what finds it from anywhere. revision: the hub's commit, None of a folder.
    """

    folder: Path
    name: str
    revision: str | None


@dataclass(frozen=True, slots=True)
class Shipped:
    """A checkpoint in this package. training: the module that makes it anew."""

    folder: Path
    training: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the models of one kind are called, and how their checkpoints are found.

    kind: in the words of a message. shipped, hub_names: by short names. unavailable: what is raised.
    commits: of hub ids; what they stand for unless a revision is asked for.
    files: the names of what is fetched, with wildcards. complete: tells whether a copy in the cache will do.
    also: what else a user may give, for the message.
    """

    kind: str
    shipped: Mapping[str, Shipped]
    hub_names: Mapping[str, str]
    unavailable: type[MedSiglipSearchError]
    commits: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[str] = CHECKPOINT_FILES
    complete: Callable[[Path], bool] = is_whole
    also: Sequence[str] = ()

    def require_known(self, name: str) -> None:
        """Raise `unavailable` for what can name no checkpoint, before anything is fetched or loaded."""
        if name in self.hub_names:
            return
        if name in self.shipped:
            if self.shipped[name].folder.is_dir():
                return
            raise self.unavailable(
                f"{name}: the package came without this {self.kind}; install it again, or train it with "
                f"`python -m {self.shipped[name].training}`"
            )
        path = Path(os.path.expanduser(name))
        if name and path.is_dir():
            return
        if name and path.exists():
            raise self.unavailable(
                f"{path}: a checkpoint is a folder (config.json, safetensors, tokenizer), and this is a "
                f"file; pass the folder {path.resolve().parent}"
            )
        if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
            usable = [
                *self.shipped,
                *self.hub_names,
                "a checkpoint folder that exists",
                "a hub id (org/name)",
            ]
            *most, last = (*usable, *self.also)
            raise self.unavailable(f"{name!r}: no such {self.kind}; use {', '.join(most)}, or {last}")

    def locate(self, name: str, revision: str | None = None) -> Checkpoint:
        """Return where the checkpoint of a short name, a folder or a hub id is, fetched if need be.

        revision: the commit of the hub that it must be; by default that of `commits`, else the newest, or the
            cached one.
        Raises `unavailable` for what names none, is gated, or cannot be fetched.
        """
        self.require_known(name)
        if name in self.shipped:
            return Checkpoint(self.shipped[name].folder, name, None)
        path = Path(os.path.expanduser(name))
        if name not in self.hub_names and path.is_dir():
            return Checkpoint(path, str(path.resolve()), None)
        hub_id = self.hub_names.get(name, name)
        folder = self.snapshot(hub_id, revision or self.commits.get(hub_id))
        return Checkpoint(folder, name, folder.name)

    def snapshot(self, hub_id: str, revision: str | None = None) -> Path:
        """Return the folder of a hub checkpoint; its name is the commit.

        A copy in the cache is used as it is and without the network. HF_HOME, HF_TOKEN and HF_HUB_OFFLINE are
        honoured.
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        files = list(self.files)
        try:
            folder = Path(
                snapshot_download(hub_id, revision=revision, allow_patterns=files, local_files_only=True)
            )
            # Another tool may have fetched only a part of the checkpoint.
            if self.complete(folder):
                return folder
        except LocalEntryNotFoundError:
            pass
        try:
            return Path(snapshot_download(hub_id, revision=revision, allow_patterns=files))
        except GatedRepoError as error:
            raise self.unavailable(
                f"{hub_id}: gated; accept the terms on its page (https://huggingface.co/{hub_id}), then run "
                "`hf auth login`; or pass a local folder that holds the checkpoint"
            ) from error
        except RepositoryNotFoundError as error:
            raise self.unavailable(
                f"{hub_id}: neither a folder here nor a model on the hub that this login can see; check the "
                "name, run `hf auth login`, or pass a local folder"
            ) from error
        except RevisionNotFoundError as error:
            raise self.unavailable(
                f"{hub_id}: the hub has no revision {revision}; pass a local folder that holds it, or build "
                "a new gallery if one was made with it"
            ) from error
        except LocalEntryNotFoundError as error:
            command = f"hf download {hub_id}" + (f" --revision {revision}" if revision else "")
            raise self.unavailable(
                f"{hub_id}: not in the local cache, and the hub cannot be reached (or HF_HUB_OFFLINE is set)"
                f"; fetch it once while online (`{command}`), "
                "or pass a local folder that holds the checkpoint"
            ) from error
        except Exception as error:  # the transport has many of its own; each means that the download failed
            raise self.unavailable(
                f"{hub_id}: the download failed ({type(error).__name__}); try again, what is complete is "
                "kept, or pass a local folder that holds the checkpoint"
            ) from error
