"""Weights of others that a person asks for: fetched once, and kept only with the right digest."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datamodules.files import replacing
from experiments.errors import SettingsError

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
#: What urllib raises for a host that is silent, gone or unknown, or for no address at all.
_UNREACHABLE = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ValueError,
)


@dataclass(frozen=True)
class PublishedFile:
    """A file that somebody publishes, and how to know it again."""

    name: str
    url: str
    sha256: str
    size: int
    """In bytes."""
    terms: str
    """Whose it is, for the person who asks for it."""


#: ImageNet weights of torchvision; the perceptual loss uses their convolutions.
VGG19 = PublishedFile(
    name="vgg19-dcbb9e9d.pth",
    url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    size=574_673_361,
    terms="torchvision (BSD-3-Clause), trained on ImageNet, whose terms are for research",
)

#: What `dabfusion download` knows, by the word for it.
PUBLISHED = {"vgg19": VGG19}


def download(
    file: PublishedFile,
    path: Path,
    url: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Fetch a file, unless it is there already; returns whether anything was fetched.

    Args:
        file: what to fetch.
        path: where it goes; written whole or not at all.
        url: another place that has it, such as a mirror; empty takes the publisher's.
        progress: called with (bytes done, all bytes).

    Raises:
        SettingsError: what came, or what is there, has another SHA-256, or nothing came.
    """
    if path.exists():
        if digest(path) == file.sha256:
            return False
        raise SettingsError(
            f"{path} exists and is not {file.name} (its SHA-256 differs): remove it, or give "
            "another path."
        )
    source = url or file.url
    found = hashlib.sha256()
    done = 0
    with replacing(path) as part, part.open("wb") as out:
        try:
            with urllib.request.urlopen(source, timeout=_TIMEOUT_S) as answer:
                # One chunk more than was promised is proof enough of another file.
                while done <= file.size and (chunk := answer.read(_CHUNK)):
                    out.write(chunk)
                    found.update(chunk)
                    done += len(chunk)
                    if progress is not None:
                        progress(done, file.size)
        except _UNREACHABLE as error:
            raise SettingsError(
                f"{source} could not be fetched ({error}): check the network, or give --url with "
                f"another place that has {file.name}."
            ) from error
        if found.hexdigest() != file.sha256:
            raise SettingsError(
                f"{source} gave {done} bytes of SHA-256 {found.hexdigest()[:12]}..., but "
                f"{file.name} has {file.size} of {file.sha256[:12]}...: nothing was kept; try "
                "again, or give --url with another place that has it."
            )
    return True


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
