"""The demo (Gradio): an image and a song in, a dance with its score out; one request at a time."""

import html
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import torch
from PIL import Image
from scipy.io import wavfile

from datamodules.errors import DataError
from datamodules.media.probe import opened
from datamodules.synthetic.clip import DanceSpec, render_clip
from experiments.evaluation.clips import score_clips
from experiments.generation.load import too_short
from lightning_modules.pipeline import DabFusionPipeline, Dance

CSS = """
.ticks { width: 100%; height: 40px; display: block; }
.ticks line { vector-effect: non-scaling-stroke; stroke-width: 2; }
.ticks .axis { stroke: currentColor; opacity: .3; stroke-width: 1; }
.ticks .music { stroke: #1f8fc4; } .ticks .motion { stroke: #d9622b; }
.legend { font-size: .85rem; margin: .25rem 0 0; }
footer { display: none !important; }
"""
#: Requests that wait; more are refused with a sentence.
QUEUE = 64
#: Titles of the examples, and the dances that are rendered for them.
EXAMPLES = {
    "break, 80 beats a minute": "gBR_sBM_c01_d91_mBR0_ch03",
    "house, 135 beats a minute": "gHO_sBM_c01_d95_mHO5_ch01",
}


@dataclass(frozen=True)
class Limits:
    """Limits of files in megabytes, of songs and dances in seconds, of images in pixels."""

    file_mb: float = 20.0
    song_s: float = 600.0
    dance_s: float = 20.0
    pixels: int = 40_000_000


def write_examples(folder: Path, size: int, seconds: float = 6.0) -> list[list[str]]:
    """Render examples with images of `size` pixels; return rows of image and song paths."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for title, name in EXAMPLES.items():
        clip = render_clip(DanceSpec(name=name, size=max(64, size), seconds=seconds))
        image, song = folder / f"{title}.png", folder / f"{title}.wav"
        Image.fromarray(clip.frames[0].permute(1, 2, 0).numpy()).save(image)
        wavfile.write(song, clip.sample_rate, (clip.audio * 32767).astype("int16"))
        rows.append([str(image), str(song)])
    return rows


def build_app(pipeline: DabFusionPipeline, limits: Limits, examples: list[list[str]]) -> gr.Blocks:
    """Build the page of a trained pipeline, with examples from `write_examples`."""
    # Gradio copies what it serves to its own cache; this folder is removed with the function below.
    work = tempfile.TemporaryDirectory(prefix="dabfusion-demo-")

    def dance(
        image: str | None,
        song: str | None,
        seconds: float,
        guidance_scale: float,
        seed: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> tuple[str, str, str]:
        """Check, generate and score one request."""

        def report(done: int, total: int) -> None:
            progress((done, total), desc="Dancing")

        given = image, song, float(seconds), float(guidance_scale), int(seed)
        try:
            return make_dance(pipeline, limits, Path(work.name), *given, progress=report)
        except (DataError, ValueError) as error:
            # The sentence on one line, without the folders of the server.
            sentence = re.sub(r"(/[^\s:;,'\"]+)+/", "", " ".join(str(error).split()))
            raise gr.Error(sentence, duration=None, print_exception=False) from error

    minutes = limits.song_s / 60
    length = f"{minutes:.3g} minutes" if minutes >= 1 else f"{limits.song_s:g} seconds"
    with gr.Blocks(title="DabFusion", analytics_enabled=False, delete_cache=(600, 3600)) as app:
        gr.Markdown(
            "# An image and a song in, a dance out\n"
            f"The image: one whole person, at most {limits.file_mb:g} MB. The song: at most "
            f"{length} and {limits.file_mb:g} MB. They stay on this server."
        )
        with gr.Row():
            with gr.Column():
                image = gr.Image(
                    label="Image", type="filepath", sources=["upload", "clipboard"], height=260
                )
                # Files are passed on as uploaded, so that our own checks can explain what is wrong
                # with them. (Gradio would write a stub file for a subclass.)
                image.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
                song = gr.Audio(
                    label="Song", type="filepath", sources=["upload"], editable=False, buttons=[]
                )
                longest, scale = limits.dance_s, pipeline.settings.guidance_scale
                seconds = gr.Slider(1, longest, min(4.0, longest), step=0.5, label="Seconds")
                guidance = gr.Slider(0, 5, value=scale, step=0.1, label="Weight of the music")
                seed = gr.Number(value=0, precision=0, minimum=0, label="Seed")
                button = gr.Button("Dance", variant="primary")
            with gr.Column():
                video = gr.Video(label="Dance", autoplay=True)
                ticks = gr.HTML(label="Beats")
                score = gr.Markdown()
        inputs = [image, song, seconds, guidance, seed]
        button.click(dance, inputs, [video, ticks, score], api_name="dance")
        gr.Examples(examples, inputs[:2], label="Examples")
    app.queue(max_size=QUEUE, default_concurrency_limit=1)
    return app


def launch_app(app: gr.Blocks, limits: Limits, host: str, port: int) -> str:
    """Serve the page in the background and return its address; port 0 takes any free one."""
    # System fonts: the default theme would request its own from a server.
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    _, address, _ = app.launch(
        server_name=host,
        server_port=port or None,
        share=False,
        quiet=True,
        show_error=True,
        prevent_thread_lock=True,
        max_file_size=int(limits.file_mb * 1e6),
        allowed_paths=[],
        theme=gr.themes.Default(font=fonts, font_mono=mono),
        css=CSS,
        footer_links=[],
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
    )
    return address


def check_image(path: str | None, limits: Limits) -> Path:
    """Return an uploaded image's path; raise a DataError, without the path, if it is refused."""
    found = _check_file(path, "image", limits)
    try:
        with Image.open(found) as image:
            width, height = image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        raise DataError("This is not an image; give a PNG, JPEG or WebP file.") from None
    if width * height > limits.pixels:
        raise DataError(
            f"The image has {width} x {height} pixels; at most {limits.pixels // 10**6} million "
            "are accepted, so scale it down."
        )
    return found


def check_song(path: str | None, limits: Limits) -> Path:
    """Return an uploaded song's path; raise a DataError, without the path, if it is refused."""
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


def _check_file(path: str | None, what: str, limits: Limits) -> Path:
    if not path:
        article = "An" if what == "image" else "A"
        raise DataError(f"{article} {what} is missing; drop one on the page.")
    found = Path(path)
    if not found.is_file():
        raise DataError(f"The {what} has not arrived; drop it on the page again.")
    size = found.stat().st_size / 1e6
    if size > limits.file_mb:
        most = f"{limits.file_mb:g} MB"
        raise DataError(f"The {what} has {size:.1f} MB; at most {most} are accepted.")
    return found


def make_dance(
    pipeline: DabFusionPipeline,
    limits: Limits,
    folder: Path,
    image: str | None,
    song: str | None,
    seconds: float,
    guidance_scale: float,
    seed: int,
    *,
    progress: Callable[[int, int], None],
) -> tuple[str, str, str]:
    """Check a request, generate its dance, and write the video to a new file in `folder`.

    Returns:
        The video's path, its beats as an inline SVG, and a sentence on its score in Markdown.
    """
    files = check_image(image, limits), check_song(song, limits)
    if not 0.2 <= seconds <= limits.dance_s:
        raise DataError(f"A dance lasts 0.2 to {limits.dance_s:g} s here, not {seconds:g}.")
    if not 0 <= guidance_scale <= 20:
        raise DataError(f"The weight of the music is between 0 and 20, not {guidance_scale:g}.")
    dance = pipeline(
        *map(str, files),
        seconds=seconds,
        guidance_scale=guidance_scale,
        generator=seed,
        progress=progress,
    )
    video = dance.save(folder / f"dance-{os.urandom(6).hex()}.mp4")
    beats = torch.from_numpy(dance.beats_s)[None]
    clip = score_clips(dance.frames[None], dance.fps, beats, ["dance"], ["song"])[0]
    motion = clip.motion_beats.tolist()
    text = "**2D-MM Align:** not defined, as there are no beats to compare."
    if len(motion) and len(dance.beats):
        text = (
            f"**2D-MM Align {clip.scores['corrected']:.2f}** (raw {clip.scores['raw']:.2f}, chance "
            f"{clip.scores['chance']:.2f}; 0 is chance, 1 is every motion beat on a music beat). "
            "The score of one dance says little: intervals need many."
        )
    if shorter := too_short(dance, seconds):
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
