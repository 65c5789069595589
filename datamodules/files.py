"""Atomic writing of files, and the search for videos in a folder."""

from __future__ import annotations

import errno
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from torch import Tensor

PARTIAL = ".partial"

#: Endings of the video files that every command takes, in lower case: what FFmpeg reads and
#: cameras, phones, recorders, editors and download tools write.
VIDEO_SUFFIXES = frozenset(
    (
        *(".3g2", ".3gp", ".3gpp", ".amv", ".asf", ".avi", ".divx", ".dv", ".evo", ".f4v", ".flv"),
        *(".264", ".265", ".avc", ".h264", ".h265", ".hevc", ".ivf", ".obu", ".av1"),
        *(".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mjp2", ".mk3d"),
        *(".mkv", ".mod", ".mov", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg", ".mpv", ".mpv2"),
        *(".mts", ".mxf", ".nut", ".ogm", ".ogv", ".ogx", ".ps", ".qt", ".rm", ".rmvb", ".tod"),
        *(".tp", ".trp", ".ts", ".vob", ".vro", ".webm", ".wmv", ".wtv", ".xvid", ".y4m"),
    )
)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; it replaces `path` at the end.

    A kill leaves either the old file or the new one. Any number of processes may replace the same
    file. If the body raises, `path` is untouched and the temporary file is removed.

    Args:
        path: The file; its folder is made if missing.
        sync: Also survive a power failure: the bytes are on the disk before the name changes.

    Raises:
        OSError: No space or no permission; nothing is left half-written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: some writers choose the format by it.
    temporary = path.with_name(f".{secrets.token_hex(6)}{PARTIAL}{path.suffix}")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, sync: bool = False) -> None:
    """Write a file atomically; see `replacing`. Caches that can be made again need no `sync`."""
    with replacing(path, sync) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a small UTF-8 text file atomically and durably; see `replacing`."""
    write_bytes(path, content.encode(), sync=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file atomically, tensors in the order of their names."""
    ordered = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    write_bytes(path, safetensors.torch.save(ordered))


def remove_partial(folder: Path) -> None:
    """Delete what a killed process left half-written in `folder`."""
    if folder.is_dir():
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and PARTIAL in entry.name:
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)


def is_no_space(error: BaseException) -> bool:
    """Whether an error, FFmpeg's included, says that the disk or the quota is full."""
    return getattr(error, "errno", None) in _NO_SPACE


@dataclass(frozen=True)
class PassedOver:
    """A file or folder that a search for videos did not take."""

    path: Path
    reason: str
    """Why, as a short phrase that several files may share: "ending .txt", "broken link"."""


def find_videos(folder: Path, exclude: Path | None = None) -> tuple[list[Path], list[PassedOver]]:
    """Find the videos in a folder and all folders in it, linked folders included.

    Every folder is entered once, whatever links lead to it, so links in a circle end. Other
    system files that start with a dot are ignored silently.

    Args:
        folder: An existing folder.
        exclude: A folder that is not entered (the output of the caller).

    Returns:
        The videos in the order of their paths, and everything that was passed over: files with
        other endings, hidden videos, broken links, folders that cannot be read or were entered
        before.
    """
    videos: list[Path] = []
    passed: list[PassedOver] = []
    entered: dict[Path, Path] = {} if exclude is None else {exclude.resolve(): exclude}
    folders, links = [folder], list[Path]()
    while folders or links:
        # Real folders first: a video keeps its own path where a link also leads to it.
        current = folders.pop() if folders else links.pop(0)
        place = current.resolve()
        if place in entered:
            if entered[place] != exclude:
                passed.append(PassedOver(current, f"same folder as {entered[place]}"))
            continue
        entered[place] = current
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            passed.append(PassedOver(current, f"folder cannot be read ({error.strerror})"))
            continue
        for entry in entries:
            path = current / entry.name
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            else:
                reason = _why_no_video(path)
                if reason is None:
                    videos.append(path)
                elif reason:
                    passed.append(PassedOver(path, reason))
    return sorted(videos), sorted(passed, key=lambda item: item.path)


def _why_no_video(path: Path) -> str | None:
    """Return why a file is not taken as a video: None if it is, "" if nobody needs to know."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return "hidden file" if suffix in VIDEO_SUFFIXES else ""
    if path.is_symlink() and not path.exists():
        return "broken link"
    if suffix not in VIDEO_SUFFIXES:
        return f"ending {path.suffix}" if suffix else "no ending"
    return None if path.is_file() else "not a regular file"


def describe_passed_over(passed: Sequence[PassedOver]) -> str:
    """Return one sentence that counts what was passed over by reason and names examples."""
    if not passed:
        return ""
    counts = Counter(item.reason for item in passed)
    shown = [f"{count} x {reason}" for reason, count in counts.most_common(6)]
    if len(counts) > len(shown):
        shown.append(f"{sum(counts.values()) - sum(c for _, c in counts.most_common(6))} more")
    names = ", ".join(str(item.path) for item in passed[:3])
    more = ", ..." if len(passed) > 3 else ""
    what = "file or folder was" if len(passed) == 1 else "files or folders were"
    text = f"{len(passed)} {what} passed over ({'; '.join(shown)}): {names}{more}."
    return text.encode(errors="replace").decode()  # names need not be valid Unicode
