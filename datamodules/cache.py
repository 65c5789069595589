"""Feature store on disk, keyed by everything that the features depend on.

A store's folder carries the digest of its kind and settings (the checkpoint's digest, the data's
digest, sizes, ...), so a changed checkpoint or setting looks into another folder and never reads
stale features. Items are safetensors files, written atomically by any number of
processes and ranks at once.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.files import write_bytes, write_tensors
from datamodules.index import digest_of

_FORMAT = 1


class FeatureStore:
    """Tensors by item id: `NAME@START` of a clip (see `windows`), or any file-name-like id.

    Args:
        root: Folder of all stores.
        kind: What is stored, such as `latent_flow`; part of the path.
        settings: JSON values that the features depend on; a change of any gives another store.
    """

    def __init__(self, root: Path, kind: str, settings: Mapping[str, Any]) -> None:
        self.root, self.kind, self.settings = Path(root), kind, dict(settings)
        self.key = digest_of({"format": _FORMAT, "kind": kind, "settings": self.settings})[:20]
        self.folder = self.root / kind / self.key

    def __repr__(self) -> str:
        return f"FeatureStore({self.kind}, {self.key})"

    def path(self, item_id: str) -> Path:
        """Return the path of an item: one folder per video keeps folders small."""
        if "/" in item_id or item_id.startswith("."):
            raise ValueError(f"{item_id!r} cannot name a stored item.")
        name, _, clip = item_id.rpartition("@")
        return (
            self.folder / name / f"{clip}.safetensors"
            if name
            else self.folder / f"{clip}.safetensors"
        )

    def has(self, item_id: str) -> bool:
        """Whether the item is stored."""
        return self.path(item_id).is_file()

    def put(self, item_id: str, tensors: Mapping[str, Tensor]) -> None:
        """Store an item; half precision stays half precision.

        Raises:
            DataError: The folder is read-only.
        """
        described = self.folder / "settings.json"
        try:
            if not described.exists():
                content = {"kind": self.kind, "settings": self.settings}
                text = json.dumps(content, indent=2, sort_keys=True) + "\n"
                write_bytes(described, text.encode())
            write_tensors(self.path(item_id), tensors)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise DataError(
                f"{self.root} cannot be written to ({error.strerror}); "
                "set clips.cache=FOLDER to store features in another folder."
            ) from error

    def get(self, item_id: str) -> dict[str, Tensor]:
        """The tensors of an item.

        Raises:
            DataError: It is not stored under these settings, or damaged.
        """
        path = self.path(item_id)
        try:
            return safetensors.torch.load_file(path)
        except FileNotFoundError as error:
            raise DataError(
                f"{self.root} lacks the {self.kind} of {item_id} for these settings; "
                "make it with: dabfusion cache."
            ) from error
        except (safetensors.SafetensorError, OSError) as error:
            raise DataError(
                f"{path} is damaged; delete it and run dabfusion cache again."
            ) from error
