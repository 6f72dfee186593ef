"""Checkpoints of the Hugging Face hub: the copy in the local cache, or a download."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from medsiglip_search.errors import EncoderUnavailable

CHECKPOINT_FILES = [
    "config.json",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
]
"""What is fetched: no pickle and no code."""


def snapshot(hub_id: str, files: Sequence[str] = CHECKPOINT_FILES) -> Path:
    """Return the folder of a hub checkpoint; its name is the commit.

    files: the names of what is fetched, with wildcards.
    A copy in the cache is used as it is and without the network, so a gallery goes on with the revision it
    began with. HF_HOME, HF_TOKEN and HF_HUB_OFFLINE are honoured.
    Raises EncoderUnavailable when the checkpoint is gated, does not exist, or cannot be fetched.
    """
    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=list(files), local_files_only=True))
        # Another tool may have fetched only a part of the checkpoint.
        if all(any(folder.glob(pattern)) for pattern in ("config.json", "*.safetensors", "tokenizer*")):
            return folder
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except GatedRepoError as error:
        raise EncoderUnavailable(
            f"{hub_id}: gated; accept the terms on its page (https://huggingface.co/{hub_id}), then run "
            "`hf auth login`; or pass a local folder that holds the checkpoint"
        ) from error
    except RepositoryNotFoundError as error:
        raise EncoderUnavailable(
            f"{hub_id}: neither a folder here nor a model on the hub that this login can see; check the "
            "name, run `hf auth login`, or pass a local folder"
        ) from error
    except LocalEntryNotFoundError as error:
        raise EncoderUnavailable(
            f"{hub_id}: not in the local cache, and the hub cannot be reached (or HF_HUB_OFFLINE is set); "
            "fetch it once while online, or pass a local folder that holds the checkpoint"
        ) from error
    except Exception as error:  # the transport has many of its own; each means that the download failed
        raise EncoderUnavailable(
            f"{hub_id}: the download failed ({type(error).__name__}); try again, what is complete is kept, "
            "or pass a local folder that holds the checkpoint"
        ) from error
