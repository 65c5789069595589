"""Rendered dancers: clips with known beats, joints and flow, and whole data sets of them.

`render_clip` makes one dance in memory; `render_dataset` writes a set of them under AIST names, as
`videos/NAME.mp4` with sound and `truth/NAME.npz`. Held-out dancers (d90 to d99) dance only the ten
pieces that AIST++ tests on; all others dance the other fifty, to other choreographies.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.aist_names import GENRES, AistName
from datamodules.errors import DataError
from datamodules.files import remove_partial, write_bytes
from datamodules.media.video import write_video
from datamodules.options.clips import SEED
from datamodules.options.synthetic import SyntheticOptions
from datamodules.splits import HELD_OUT_PIECES
from datamodules.synthetic.clip import DanceSpec, RenderedClip, Scene, render_clip, true_flow
from datamodules.synthetic.music import rng_of

__all__ = [
    "DanceSpec",
    "RenderedClip",
    "Scene",
    "Truth",
    "dance_names",
    "load_truth",
    "render_clip",
    "render_dataset",
    "true_flow",
]

FORMAT_VERSION = 1
_NAMES_VERSION = 2  # of `dance_names`; a set of other names is not gone on with
_HELD_OUT = tuple(f"d{number}" for number in range(90, 100))
_TRAIN_DANCERS = tuple(f"d{number:02d}" for number in range(1, 90))


@dataclass(frozen=True)
class Truth:
    """What is stored with a rendered video."""

    spec: DanceSpec
    beats_s: NDArray[np.float64]
    """(N,) seconds from frame 0."""
    tempo_bpm: float
    keypoints: NDArray[np.float32]
    """(T, 17, 3): x, y in pixels and visibility, COCO's order."""

    def scene(self) -> Scene:
        """The geometry of every frame, for `true_flow`."""
        return Scene(self.spec)


def load_truth(path: str | os.PathLike[str]) -> Truth:
    """The truth of a rendered video, from `truth/NAME.npz`.

    Raises:
        DataError: The file is none, or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {name: stored[name] for name in stored.files}
        header = json.loads(str(values["spec"]))
        if header.pop("version") != FORMAT_VERSION:
            raise DataError(f"{path} is of another version; render the set again.")
        spec = DanceSpec.from_dict(header)
        return Truth(spec, values["beats"], float(values["tempo"]), values["keypoints"])
    except FileNotFoundError:
        raise
    except (OSError, EOFError, KeyError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not the truth of a rendered video ({error}).") from error


def dance_names(seed: int, train_videos: int, cameras: int = 1) -> list[str]:
    """AIST names of a set: `train_videos` to learn from, 20 to validate and 20 to test on.

    Args:
        cameras: Views c01, c02, ... of every dance; each is a video.
    """
    pieces = [f"m{genre}{digit}" for digit in range(6) for genre in GENRES]
    pieces = [piece for piece in pieces if piece not in HELD_OUT_PIECES]
    rng = rng_of(seed, "set")
    dancers = rng.permutation(_TRAIN_DANCERS)
    dances = []
    for number in range(train_videos):
        piece = pieces[number % len(pieces)]
        choreography = 3 + (number + number // len(pieces)) % 8
        dancer = dancers[number % len(dancers)]
        dances.append((piece, str(dancer), f"ch{choreography:02d}"))
    # Two choreographies of a genre may be the same steps. So validation has other dancers dance to
    # a piece than the test has: no video is there twice.
    for choreography, shift in ((1, 5), (2, 0)):
        for number in range(2 * len(HELD_OUT_PIECES)):
            piece = sorted(HELD_OUT_PIECES)[number // 2]
            dancer = _HELD_OUT[(number + shift) % len(_HELD_OUT)]
            dances.append((piece, dancer, f"ch{choreography:02d}"))
    return [
        str(AistName("BM", f"c{camera:02d}", piece[1:3], (dancer,), piece, choreography))
        for piece, dancer, choreography in dances
        for camera in range(1, cameras + 1)
    ]


def render_dataset(
    out: str | os.PathLike[str],
    *,
    seed: int = SEED,
    train_videos: int = SyntheticOptions.train_videos,
    cameras: int = SyntheticOptions.cameras,
    seconds: float = SyntheticOptions.seconds,
    fps: float = SyntheticOptions.fps,
    size: int = SyntheticOptions.size,
    width: int = SyntheticOptions.width,
    routines: int = SyntheticOptions.routines,
    rooms: str = SyntheticOptions.rooms,
    crf: int = SyntheticOptions.crf,
    workers: int = SyntheticOptions.workers,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Render a set of dances into a folder; what is there already is kept.

    Args:
        out: The folder; gets `videos/`, `truth/` and `synthetic.json`.
        train_videos: Dances by the 89 training dancers; 40 held-out ones are added.
        crf: x264's constant rate factor.
        workers: Processes; 0 takes one for each core.
        progress: Called with (videos done, videos in all).

    Returns:
        The videos' names.

    Raises:
        DataError: The folder holds a set of other settings.
    """
    out = Path(out)
    dance = {
        "seed": seed, "size": size, "width": width, "fps": fps, "seconds": seconds,
        "routines": routines, "rooms": rooms,
    }  # fmt: skip
    names = dance_names(seed, train_videos, cameras)
    _claim(out, {"version": FORMAT_VERSION, "names": _NAMES_VERSION, "crf": crf, **dance})
    for folder in ("videos", "truth"):
        remove_partial(out / folder)
    specs = [DanceSpec.from_dict({"name": name, **dance}) for name in names]
    todo = [spec for spec in specs if not _is_done(out, spec)]
    done = len(specs) - len(todo)
    if progress:
        progress(done, len(specs))
    todo.sort(key=lambda spec: spec.name.split("_")[4])  # a worker keeps the pieces it last made

    def report(finished: int) -> None:
        if progress:
            progress(done + finished, len(specs))

    workers = min(workers or os.cpu_count() or 1, max(1, len(todo) // 8))
    _render_all(out, todo, crf, workers, report)
    return names


def _render_all(
    out: Path, todo: list[DanceSpec], crf: int, workers: int, report: Callable[[int], None]
) -> None:
    if workers == 1:
        for finished, spec in enumerate(todo, start=1):
            _render_to(out, [spec], crf)
            report(finished)
        return
    chunk = max(1, min(8, len(todo) // (4 * workers)))
    parts = [todo[start : start + chunk] for start in range(0, len(todo), chunk)]
    # A forked child would inherit the parent's threads in an unknown state.
    with ProcessPoolExecutor(workers, get_context("spawn"), _ignore_interrupts) as pool:
        waiting: set[Future[int]] = {pool.submit(_render_to, out, part, crf) for part in parts}
        finished = 0
        try:
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                finished += sum(future.result() for future in ready)
                report(finished)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; the parent alone decides what to do."""
    import signal

    import cv2
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _render_to(out: Path, specs: list[DanceSpec], crf: int) -> int:
    for spec in specs:
        clip = render_clip(spec)
        path = out / "videos" / f"{spec.name}.mp4"
        write_video(path, clip.frames, spec.fps, clip.audio, clip.sample_rate, crf=crf)
        header = json.dumps({"version": FORMAT_VERSION, **spec.to_dict()})
        stored = io.BytesIO()
        np.savez_compressed(
            stored,
            spec=np.array(header),
            beats=clip.beats_s,
            tempo=np.float64(clip.tempo_bpm),
            keypoints=clip.keypoints,
        )
        write_bytes(_truth_path(out, spec.name), stored.getvalue())
    return len(specs)


def _truth_path(out: Path, name: str) -> Path:
    return out / "truth" / f"{name}.npz"


def _is_done(out: Path, spec: DanceSpec) -> bool:
    """The truth is written last, so where it is and agrees, the video is whole."""
    if not (out / "videos" / f"{spec.name}.mp4").exists():
        return False
    try:
        return load_truth(_truth_path(out, spec.name)).spec == spec
    except (FileNotFoundError, DataError):
        return False


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Write `synthetic.json`, or check that the one there says the same."""
    path = out / "synthetic.json"
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except json.JSONDecodeError:
            found = None
        if found != settings:
            raise DataError(
                f"{out} holds dances rendered with other settings; choose another folder or "
                "delete it."
            )
        return
    if (out / "videos").exists() and any((out / "videos").iterdir()):
        raise DataError(f"{out} holds videos of another origin; choose an empty folder.")
    write_bytes(path, (json.dumps(settings, indent=2) + "\n").encode())
