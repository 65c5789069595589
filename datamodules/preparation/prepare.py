"""Videos into a prepared folder: small clip videos, beats, sound features and one index.

    OUT/clips/NAME.mp4               frames at the target rate and size, with their sound
    OUT/features/NAME.safetensors    `spectral` (N, 44), `onset` (N,), `envelope` (M,) at 100 Hz
    OUT/keypoints/NAME.npz           `keypoints` (N, 17, 3) in clip pixels, where known
    OUT/records/NAME.json            what is done; reused by a resumed run
    OUT/index.parquet, dataset.json  see `index`
    OUT/quarantine.jsonl             name, source and reason of each video left out

If killed at any moment, a second run resumes where the first stopped and produces the same index.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules import aist_names
from datamodules.errors import DataError
from datamodules.files import (
    PassedOver,
    describe_passed_over,
    find_videos,
    remove_partial,
    write_bytes,
)
from datamodules.index import DatasetSettings, digest_of, read_dataset, write_dataset, write_index
from datamodules.media.audio import warm_up
from datamodules.preparation.beats import BeatOptions, EagerBeatTracker, with_beats
from datamodules.preparation.pool import run_all
from datamodules.preparation.video_task import VideoTask, describe, fingerprint, record_path

#: Bytes of a name; file systems allow 255, endings and temporary names included.
_LONGEST_NAME = 160

Progress = Callable[[str, int, int], None]
"""Called with the step ("videos" or "beats"), the number done and the number of all."""


@dataclass(frozen=True)
class PrepareReport:
    """Result of a preparation."""

    prepared: int
    """Videos in the index."""
    taken_over: int
    """Videos that an earlier run had already prepared or quarantined."""
    quarantined: list[dict[str, str]] = field(default_factory=list)
    """`name`, `source` and `reason` of each video left out."""
    passed_over: list[PassedOver] = field(default_factory=list)
    """Files and folders that were not taken as videos."""


@dataclass(frozen=True)
class PrepareOptions:
    """How to prepare."""

    settings: DatasetSettings = field(default_factory=DatasetSettings)
    beats: BeatOptions = field(default_factory=BeatOptions)
    keypoints: Path | None = None
    """Folder of AIST++'s keypoints2d/*.pkl."""
    workers: int = 1
    """Processes; 1 works in this one."""


def prepare(
    videos: Path, out: Path, options: PrepareOptions, progress: Progress | None = None
) -> PrepareReport:
    """Prepare every video below a folder; see the module's docstring for what is written.

    Args:
        videos: Searched with all its folders; a rendered set (`videos/` and `truth/`) brings its
            key points and true beats along.
        out: Made or resumed.
        options: Rate, size, beats, processes.
        progress: Called after each video.

    Raises:
        DataError: No videos; `out` was prepared with other settings; a beat file is unreadable;
            or no video was usable.
        OSError: No space or no permission. What is done is kept.
    """
    _check_folders(options)
    found, clashes, passed_over = find_tasks(videos, out, options)
    _open(out, options.settings)
    records = [_finished(task) for task in found]
    open_tasks = [task for task, record in zip(found, records, strict=True) if record is None]
    done = [record for record in records if record is not None]
    taken_over = len(done)

    def advance(count: int) -> None:
        if progress is not None:
            progress("videos", taken_over + count, len(found))

    advance(0)
    piece_of = {task.name: describe(task.name, task.source)["music"] for task in open_tasks}
    ahead = EagerBeatTracker(
        out, piece_of.values(), [record["row"] for record in done if "row" in record]
    )

    def finished(record: dict[str, Any]) -> None:
        ahead.add(piece_of[record["name"]], record.get("row"))

    tracked = options.beats == BeatOptions()
    done += run_all(open_tasks, options.workers, advance, warm_up, finished if tracked else None)
    rows = [record["row"] for record in done if "row" in record]
    sources = {task.name: task.source for task in found}
    quarantined = clashes + [
        {"name": record["name"], "source": sources[record["name"]], "reason": record["reason"]}
        for record in done
        if "reason" in record
    ]
    quarantined.sort(key=lambda entry: (entry["name"], entry["source"]))
    _write_quarantine(out, quarantined)
    if not rows:
        first = quarantined[0]["reason"] if quarantined else ""
        raise DataError(f"None of the {len(found)} videos in {videos} can be used; {first}")
    _write(out, options, rows, progress, ahead.filled)
    return PrepareReport(len(rows), taken_over, quarantined, passed_over)


def find_tasks(
    videos: Path, out: Path, options: PrepareOptions
) -> tuple[list[VideoTask], list[dict[str, str]], list[PassedOver]]:
    """Find the videos in a folder.

    Returns:
        The videos in the order of their names, those whose name is taken, and what was passed over.
    """
    if not videos.is_dir():
        raise DataError(f"{videos} is not a folder; give the folder that holds the videos.")
    rendered = (videos / "videos").is_dir() and (videos / "truth").is_dir()
    root = videos / "videos" if rendered else videos
    paths, passed_over = find_videos(root, exclude=out)
    if not paths:
        raise DataError(
            f"{videos} holds no videos (.mp4, .mov, .mkv, ...); give the folder that holds them. "
            f"{describe_passed_over(passed_over)}".rstrip()
        )
    names = names_of([path.relative_to(root).as_posix() for path in paths])
    tasks: dict[str, VideoTask] = {}
    clashes = []
    for path in paths:
        source = path.relative_to(root).as_posix()
        name = names[source]
        source = source.encode(errors="replace").decode()  # names need not be valid Unicode
        if name in tasks:
            reason = f"{source} has the same name as {tasks[name].source}."
            clashes.append({"name": name, "source": source, "reason": reason})
            continue
        truth = videos / "truth" / f"{name}.npz" if rendered else None
        points, camera = _annotation(name, options.keypoints)
        tasks[name] = VideoTask(
            name=name,
            path=path,
            source=source,
            out=out,
            settings=options.settings,
            truth=truth if truth is not None and truth.is_file() else None,
            keypoints=points,
            camera=camera,
        )
    return [tasks[name] for name in sorted(tasks)], clashes, passed_over


def names_of(sources: Sequence[str]) -> dict[str, str]:
    """Return the name of each video by its path.

    Names that a file system could take for the same one (cases, forms of Unicode) or that were
    the same (`a b.mp4`, `a_b.mp4` with other punctuation, `a.mov`) are told apart by a digest of
    the path. AIST names are kept: two files of one AIST name are the same video.
    """
    plain = {source: name_of(source) for source in sources}
    taken = Counter(name.casefold() for name in plain.values())
    return {
        source: name
        if taken[name.casefold()] == 1 or aist_names.try_parse(name) is not None
        else _with_digest(name, source)
        for source, name in plain.items()
    }


def name_of(source: str) -> str:
    """Return the name of a video: its AIST name, else its path with `-` for whatever a file name
    or a clip id cannot contain, at most `_LONGEST_NAME` bytes long."""
    stem = source.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    if aist_names.try_parse(stem) is not None:
        return stem
    path = unicodedata.normalize("NFC", source.rsplit(".", 1)[0])
    name = re.sub(r"[^\w.+-]+", "-", path).strip("-.") or "video"
    return name if len(name.encode()) <= _LONGEST_NAME else _with_digest(name, source)


def _with_digest(name: str, source: str) -> str:
    """Return a name that ends in a digest of the path, shortened where needed."""
    digest = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()[:8]
    head = name.encode()[: _LONGEST_NAME - 9].decode(errors="ignore")
    return f"{head.rstrip('-.')}-{digest}"


def _annotation(name: str, folder: Path | None) -> tuple[Path | None, int]:
    parsed = aist_names.try_parse(name)
    if folder is None or parsed is None or parsed.camera == aist_names.ALL_CAMERAS:
        return None, 0
    path = folder / f"{parsed.with_camera(aist_names.ALL_CAMERAS)}.pkl"
    return (path, aist_names.CAMERAS.index(parsed.camera)) if path.is_file() else (None, 0)


def _check_folders(options: PrepareOptions) -> None:
    """Refuse before hours of preparation what would be refused, or missing, after them."""
    given = {
        "beat files": options.beats.beat_files,
        "music": options.beats.music,
        "AIST++'s keypoints2d": options.keypoints,
    }
    for what, folder in given.items():
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give the folder of {what}.")


def _open(out: Path, settings: DatasetSettings) -> None:
    """Make the folder or check that it is the same preparation; clean up after a kill."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; give a folder to write to.")
    if (out / "dataset.json").exists():
        before, _, _ = read_dataset(out)
        if before != settings:
            raise DataError(
                f"{out} was prepared at {before.fps:g} fps, {before.size} pixels, {before.fit}, "
                f"not at {settings.fps:g} fps, {settings.size} pixels, {settings.fit}; "
                "choose another folder or delete it."
            )
    elif out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out} is not empty and not a prepared folder; choose another one.")
    for part in ("clips", "features", "keypoints", "records"):
        (out / part).mkdir(parents=True, exist_ok=True)
        remove_partial(out / part)
    remove_partial(out)
    if not (out / "dataset.json").exists():
        write_dataset(out, settings, None, None)


def _finished(task: VideoTask) -> dict[str, Any] | None:
    """The record of an earlier run, if it is whole and the files are as they were."""
    try:
        record = json.loads(record_path(task.out, task.name).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("fingerprint") != fingerprint(task):
        return None
    if "reason" in record:
        return record
    if "row" not in record:
        return None
    kept = [task.out / "clips" / f"{task.name}.mp4"]
    kept.append(task.out / "features" / f"{task.name}.safetensors")
    if record["row"]["keypoints"]:
        kept.append(task.out / "keypoints" / f"{task.name}.npz")
    return record if all(path.is_file() for path in kept) else None


def _write_quarantine(out: Path, entries: Sequence[dict[str, str]]) -> None:
    lines = [json.dumps(entry, sort_keys=True, ensure_ascii=False) + "\n" for entry in entries]
    content, path = "".join(lines).encode(), out / "quarantine.jsonl"
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def _write(
    out: Path,
    options: PrepareOptions,
    rows: list[dict[str, Any]],
    progress: Progress | None,
    ahead: Mapping[str, Sequence[dict[str, Any]]],
) -> None:
    """Beats and index, unless the index at hand was made from the same rows and beat files."""
    rows = sorted(rows, key=lambda row: row["name"])
    inputs = digest_of([rows, _files_of(options.beats)])
    settings, index_sha256, before = read_dataset(out)
    if before == inputs and index_sha256 is not None and (out / "index.parquet").exists():
        return

    def advance(done: int, total: int) -> None:
        if progress is not None:
            progress("beats", done, total)

    filled = with_beats(out, rows, options.beats, advance, ahead)
    write_index(out, settings, filled, inputs)


def _files_of(beats: BeatOptions) -> list[list[Any]]:
    """What the beat and music folders hold, by name, size and time of change."""
    listed = []
    for folder in (beats.beat_files, beats.music):
        if folder is None:
            continue
        for path in sorted(folder.iterdir()):
            stat = path.stat()
            listed.append([path.name, stat.st_size, stat.st_mtime_ns])
    return listed
