"""Requests of the demo: check the files, generate and score the dance. Independent of the page."""

import html
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError

from datamodules.errors import DataError
from datamodules.media.probe import opened
from experiments.evaluation.clips import score_clips
from experiments.generation.requests import too_short
from lightning_modules.pipeline import DabFusionPipeline, Dance


@dataclass(frozen=True)
class Limits:
    """Limits of the files and dances."""

    file_mb: float = 20.0
    """Size of a file in megabytes."""
    song_s: float = 600.0
    """Length of a song in seconds."""
    dance_s: float = 20.0
    """Length of a dance in seconds."""
    pixels: int = 40_000_000
    """Number of pixels of the image."""


def check_image(path: str | None, limits: Limits) -> Path:
    """Return the path of an uploaded image within the limits.

    Raises:
        DataError: It is not one; the sentence names no folder of the server.
    """
    found = _check_file(path, "image", limits)
    try:
        with Image.open(found) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        raise DataError("This is not an image; give a PNG, JPEG or WebP file.") from None
    if width * height > limits.pixels:
        raise DataError(
            f"The image has {width} x {height} pixels; at most {limits.pixels // 10**6} million "
            "are accepted, so scale it down."
        )
    return found


def check_song(path: str | None, limits: Limits) -> Path:
    """Return the path of an uploaded song within the limits.

    Raises:
        DataError: It is not one; the sentence names no folder of the server.
    """
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
    image: Path,
    song: Path,
    folder: Path,
    *,
    seconds: float,
    guidance_scale: float,
    seed: int,
    limits: Limits,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, str, str]:
    """Generate a dance, score it, and write the video to a new file in ``folder``.

    Returns:
        The video's path; its beats as an inline SVG; and a sentence on its score in Markdown.

    Raises:
        DataError: The song cannot be decoded or is too short, or a number is out of range.
    """
    if not 0.2 <= seconds <= limits.dance_s:
        raise DataError(f"A dance lasts 0.2 to {limits.dance_s:g} s here, not {seconds:g}.")
    if not 0 <= guidance_scale <= 20:
        raise DataError(f"The weight of the music is between 0 and 20, not {guidance_scale:g}.")
    dance = pipeline(
        str(image),
        str(song),
        seconds=seconds,
        guidance_scale=guidance_scale,
        generator=int(seed),
        progress=progress,
    )
    video = dance.save(folder / f"dance-{os.urandom(6).hex()}.mp4")
    beats = torch.from_numpy(dance.beats_s)[None]
    clip = score_clips(dance.frames[None], dance.fps, beats, ["dance"], ["song"])[0]
    motion = clip.motion_beats.tolist()
    text = _score_text(clip.scores, len(motion), len(dance.beats))
    shorter = too_short(dance, seconds)
    if shorter:
        text += f"\n\nThe dance lasts {dance.seconds:.1f} s{shorter}."
    return str(video), beat_ticks(dance, motion), text


def beat_ticks(dance: Dance, motion_beats_s: list[float]) -> str:
    """Return the beats as an inline SVG with a text alternative."""
    music = dance.beats.tolist()

    def lines(beats: list[float], top: int, bottom: int, kind: str) -> str:
        places = [f"{1000 * beat / dance.seconds:.1f}" for beat in beats]
        return "".join(
            f'<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" class="{kind}"/>' for x in places
        )

    label = f"{len(music)} beats of the music, {len(motion_beats_s)} beats of the motion"
    return (
        f'<svg class="ticks" viewBox="0 0 1000 48" preserveAspectRatio="none" role="img" '
        f'aria-label="{html.escape(label)}"><line x1="0" x2="1000" y1="24" y2="24" '
        f'class="axis"/>{lines(music, 4, 22, "music")}{lines(motion_beats_s, 26, 44, "motion")}'
        f'</svg><p class="legend">Above the line: beats of the music ({len(music)}). Below: beats '
        f"of the motion ({len(motion_beats_s)}).</p>"
    )


def one_line(error: BaseException) -> str:
    """Return an error's sentence without the folders of the server."""
    return re.sub(r"(/[^\s:;,'\"]+)+/", "", " ".join(str(error).split()))


def _check_file(path: str | None, what: str, limits: Limits) -> Path:
    if not path:
        article = "An" if what == "image" else "A"
        raise DataError(f"{article} {what} is missing; drop one on the page.")
    found = Path(path)
    if not found.is_file():
        raise DataError(f"The {what} has not arrived; drop it on the page again.")
    size = found.stat().st_size / 1e6
    if size > limits.file_mb:
        raise DataError(
            f"The {what} has {size:.1f} MB; at most {limits.file_mb:g} MB are accepted."
        )
    return found


def _score_text(scores: dict[str, float], motion: int, music: int) -> str:
    if motion == 0 or music == 0:
        return "**2D-MM Align:** not defined, as there are no beats to compare."
    return (
        f"**2D-MM Align {scores['corrected']:.2f}** (raw {scores['raw']:.2f}, chance "
        f"{scores['chance']:.2f}; 0 is chance, 1 is every motion beat on a music beat). The score "
        "of one dance says little: intervals need many."
    )
