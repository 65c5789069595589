"""Networks that turn a video into features for the Frechet and kernel distances.

One protocol: a callable from uint8 videos (B, T, 3, H, W) to features (B, D), with a `dimension`
and a `digest` that names exactly this extractor with these weights. Numbers from different
extractors cannot be compared; the digest is what the protocol of a table checks.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable
from urllib.request import urlopen

import torch
from torch import Tensor, nn


@runtime_checkable
class FeatureExtractor(Protocol):
    """Interface of the networks for the distances."""

    @property
    def dimension(self) -> int:
        """D, the number of features."""

    @property
    def digest(self) -> str:
        """Name and content hash of the network and its weights."""

    def __call__(self, video: Tensor) -> Tensor:
        """uint8 (B, T, 3, H, W) to floating point (B, D)."""


class TorchScriptExtractor(nn.Module):
    """Any TorchScript video network by path; I3D for the usual FVD.

    Args:
        path: The TorchScript file.
        call: "i3d" for the I3D of StyleGAN-V (`i3d_torchscript.pt`), which takes (B, 3, T, H, W)
            in [0, 255] and resizes and rescales itself; "plain" for a network from
            (B, 3, T, H, W) in [0, 1] to (B, D).
        sha256: Expected hash of the file; None accepts any and only records it.
        frames: Number of frames of the probe that finds out D (I3D needs at least 10).

    Raises:
        ValueError: The file is not the expected one, or its output is not (B, D).
        FileNotFoundError: The file does not exist.
    """

    def __init__(
        self,
        path: str | Path,
        call: Literal["i3d", "plain"] = "plain",
        sha256: str | None = None,
        frames: int = 16,
    ) -> None:
        super().__init__()
        if call not in ("i3d", "plain"):
            raise ValueError(f"call is {call!r}; expected 'i3d' or 'plain'.")
        found = file_sha256(path)
        if sha256 is not None and found != sha256.lower():
            raise ValueError(
                f"{path} has SHA-256 {found}, expected {sha256}: the file is damaged or another "
                "file; download it again."
            )
        self.call = call
        self.network = torch.jit.load(str(path), map_location="cpu").eval()
        self.digest = f"torchscript-{call}:{found}"
        with torch.no_grad():
            features = self(torch.zeros(1, frames, 3, 64, 64, dtype=torch.uint8))
        if features.ndim != 2 or len(features) != 1:
            raise ValueError(
                f"{path} gives features of shape {tuple(features.shape)} for one video; expected "
                "(1, D)."
            )
        self.dimension = int(features.shape[1])

    def forward(self, video: Tensor) -> Tensor:
        """uint8 (B, T, 3, H, W) to (B, D)."""
        ordered = video.transpose(1, 2).to(torch.float32)
        if self.call == "i3d":
            return self.network(ordered, rescale=True, resize=True, return_features=True)
        return self.network(ordered / 255)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_weights(url: str, path: str | Path, sha256: str) -> Path:
    """Download a file and keep it only if its hash is the expected one.

    Nothing else in this package uses the network. A file that is already there with the right
    hash is not fetched again.

    Args:
        url: Where it is, given by you.
        path: Where to put it.
        sha256: Its hash in hexadecimal.

    Raises:
        ValueError: What came has another hash; nothing is left behind.
        OSError: The address cannot be reached or the file cannot be written.
    """
    target = Path(path)
    if target.exists() and file_sha256(target) == sha256.lower():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name)
    try:
        with os.fdopen(handle, "wb") as file, urlopen(url, timeout=60) as answer:
            while block := answer.read(1 << 20):
                file.write(block)
        found = file_sha256(name)
        if found != sha256.lower():
            raise ValueError(f"{url} has SHA-256 {found}, expected {sha256}; nothing was kept.")
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target
