"""What the demo does with a picture and a song: refuse, dance, score. Knows nothing of pages."""

import html
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from datamodules.errors import DataError
from lightning_modules.pipeline import DabFusionPipeline, Dance


@dataclass(frozen=True)
class Limits:
    """What is accepted."""

    file_mb: float = 20.0
    """Size of a file."""
    song_s: float = 600.0
    """Length of a song."""
    dance_s: float = 20.0
    """Length of a dance."""
    pixels: int = 40_000_000
    """Of the picture."""


@dataclass(frozen=True)
class Answer:
    """A dance as the page shows it."""

    video: Path
    ticks: str
    """SVG: music beats above the line, motion beats below it."""
    score: str


def check_picture(path: str | None, limits: Limits) -> Path:
    """The picture's path, if it is one of bearable size.

    Raises:
        DataError: in one sentence that names no folder of the server.
    """
    from PIL import Image, UnidentifiedImageError

    found = _check_file(path, "picture", limits)
    try:
        with Image.open(found) as picture:
            width, height = picture.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        raise DataError("This is not a picture; give a PNG, JPEG or WebP file.") from None
    if width * height > limits.pixels:
        raise DataError(
            f"The picture has {width} x {height} pixels; at most {limits.pixels // 10**6} million "
            "are accepted, so scale it down."
        )
    return found


def check_song(path: str | None, limits: Limits) -> Path:
    """The song's path, if it holds sound of bearable length.

    Raises:
        DataError: in one sentence that names no folder of the server.
    """
    from datamodules.media.probe import opened

    found = _check_file(path, "song", limits)
    try:
        with opened(found) as container:
            has_sound = bool(container.streams.audio)
            length_s = (container.duration or 0) / 1e6
    except DataError:
        raise DataError("This is not sound; give an MP3, WAV, OGG, M4A or video file.") from None
    if not has_sound:
        raise DataError("This file has no sound; give a song, or a video with sound.")
    # A stream without a stated length could be endless.
    if not 0 < length_s <= limits.song_s:
        raise DataError(
            f"The song is {length_s:.0f} s long; more than 0 and at most {limits.song_s:.0f} s are "
            "accepted, so cut it."
        )
    return found


def make_dance(
    pipeline: DabFusionPipeline,
    picture: Path,
    song: Path,
    folder: Path,
    *,
    seconds: float,
    guidance_scale: float,
    seed: int,
    limits: Limits,
    progress: Callable[[int, int], None] | None = None,
) -> Answer:
    """Dance, score, and write the video to a new file in ``folder``.

    Raises:
        DataError: the song cannot be decoded or is too short, or a number is out of range.
    """
    if not 0.2 <= seconds <= limits.dance_s:
        raise DataError(f"A dance lasts 0.2 to {limits.dance_s:g} s here, not {seconds:g}.")
    if not 0 <= guidance_scale <= 20:
        raise DataError(f"The weight of the music lies between 0 and 20, not {guidance_scale:g}.")
    dance = pipeline(
        str(picture),
        str(song),
        seconds=seconds,
        guidance_scale=guidance_scale,
        generator=int(seed),
        progress=progress,
    )
    video = folder / f"dance-{os.urandom(6).hex()}.mp4"
    dance.save(video)
    scores, motion = score(dance)
    return Answer(
        video, beat_ticks(dance, motion), _score_text(scores, len(motion), len(dance.beats))
    )


def score(dance: Dance) -> tuple[dict[str, float], list[float]]:
    """Scores of the dance against its own music, and its motion beats in seconds."""
    from experiments.evaluation.clips import score_clips

    beats = torch.from_numpy(dance.beats_s)[None]
    clip = score_clips(dance.frames[None], dance.fps, beats, ["dance"], ["song"])[0]
    return clip.scores, clip.motion_beats.tolist()


def beat_ticks(dance: Dance, motion_beats_s: list[float]) -> str:
    """The beats as an inline SVG with a text for those who do not see it."""
    length = len(dance.frames) / dance.fps
    music = [beat for beat in dance.beats_s.tolist() if 0 <= beat <= length]
    lines = [_line(beat / length, 4, 22, "music") for beat in music]
    lines += [_line(beat / length, 26, 44, "motion") for beat in motion_beats_s]
    label = f"{len(music)} beats of the music, {len(motion_beats_s)} beats of the motion"
    return (
        f'<svg class="ticks" viewBox="0 0 1000 48" preserveAspectRatio="none" role="img" '
        f'aria-label="{html.escape(label)}"><line x1="0" x2="1000" y1="24" y2="24" '
        f'class="axis"/>{"".join(lines)}</svg><p class="legend">Above the line: beats of the '
        f"music ({len(music)}). Below: beats of the motion ({len(motion_beats_s)}).</p>"
    )


def one_line(error: BaseException) -> str:
    """An error's sentence without the server's folders."""
    return re.sub(r"(/[^\s:;,'\"]+)+/", "", " ".join(str(error).split()))


def _check_file(path: str | None, what: str, limits: Limits) -> Path:
    if not path:
        raise DataError(f"A {what} is missing; drop one on the page.")
    found = Path(path)
    if not found.is_file():
        raise DataError(f"The {what} has not arrived; drop it on the page again.")
    size = found.stat().st_size / 1e6
    if size > limits.file_mb:
        raise DataError(
            f"The {what} has {size:.1f} MB; at most {limits.file_mb:g} MB are accepted."
        )
    return found


def _line(share: float, top: int, bottom: int, kind: str) -> str:
    x = f"{1000 * share:.1f}"
    return f'<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" class="{kind}"/>'


def _score_text(scores: dict[str, float], motion: int, music: int) -> str:
    if motion == 0 or music == 0:
        return "**2D-MM Align:** not defined, as there are no beats to compare."
    return (
        f"**2D-MM Align {scores['corrected']:.2f}** (raw {scores['raw']:.2f}, chance "
        f"{scores['chance']:.2f}; 0 is chance, 1 is every motion beat on a music beat). One dance "
        "says little: intervals need many."
    )
