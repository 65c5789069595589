"""Downloads of published weights, kept only with the right SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datamodules.files import replacing
from experiments.errors import SettingsError

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
#: Errors of urllib for a host that is silent or unknown, or for a malformed address.
_UNREACHABLE = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


@dataclass(frozen=True)
class PublishedFile:
    """A published file: its size in bytes, and its owner and license as `terms`."""

    name: str
    url: str
    sha256: str
    size: int
    terms: str


#: ImageNet weights of torchvision; the perceptual loss uses their convolutions.
VGG19 = PublishedFile(
    name="vgg19-dcbb9e9d.pth",
    url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    size=574_673_361,
    terms="torchvision (BSD-3-Clause), trained on ImageNet, whose terms are for research",
)
#: Files of `dabfusion download` by name.
PUBLISHED = {"vgg19": VGG19}


def download(
    file: PublishedFile,
    path: Path,
    url: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Download a file, complete or not at all, unless it exists; return whether it was downloaded.

    Args:
        file: The file.
        path: Where to write it.
        url: Another address of the same file, such as a mirror; empty uses the publisher's.
        progress: Called with (bytes done, all bytes).

    Raises:
        SettingsError: What exists or was received has another SHA-256, or nothing was received.
    """
    if path.exists():
        with path.open("rb") as existing:
            if hashlib.file_digest(existing, "sha256").hexdigest() == file.sha256:
                return False
        raise SettingsError(
            f"{path} exists and is not {file.name} (its SHA-256 differs): remove it, or give "
            "another path."
        )
    source = url or file.url
    digest, done = hashlib.sha256(), 0
    with replacing(path) as part, part.open("wb") as out:
        for chunk in _chunks(source, file):
            out.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(done, file.size)
        if digest.hexdigest() != file.sha256:
            raise SettingsError(
                f"{source} gave {done} bytes of SHA-256 {digest.hexdigest()[:12]}..., but "
                f"{file.name} has {file.size} of {file.sha256[:12]}...: nothing was kept; try "
                "again, or give --url with another address of the file."
            )
    return True


def _chunks(source: str, file: PublishedFile) -> Iterator[bytes]:
    """Yield what an address sends, at most one chunk more than the size of the file."""
    done = 0
    try:
        with urllib.request.urlopen(source, timeout=_TIMEOUT_S) as answer:
            while done <= file.size and (chunk := answer.read(_CHUNK)):
                done += len(chunk)
                yield chunk
    except _UNREACHABLE as error:
        raise SettingsError(
            f"{source} could not be downloaded ({error}): check the network, or give --url with "
            f"another address of {file.name}."
        ) from error
