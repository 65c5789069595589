"""The page of the demo (Gradio): an image and a song in, a dance out; one request at a time."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image
from scipy.io import wavfile

from datamodules.errors import DataError
from datamodules.synthetic.clip import DanceSpec, render_clip
from experiments.generation.demo_dance import (
    Limits,
    check_image,
    check_song,
    make_dance,
    one_line,
)
from lightning_modules.pipeline import DabFusionPipeline

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


def write_examples(folder: Path, size: int, seconds: float = 6.0) -> list[list[str]]:
    """Render an image and a song for each example.

    Args:
        folder: Folder to write to; created if missing.
        size: Side of the images in pixels.
        seconds: Length of the songs.

    Returns:
        Rows of image and song paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for title, name in EXAMPLES.items():
        clip = render_clip(DanceSpec(name=name, size=max(64, size), seconds=seconds))
        image, song = folder / f"{title}.png", folder / f"{title}.wav"
        Image.fromarray(clip.frames[0].permute(1, 2, 0).numpy()).save(image)
        wavfile.write(song, clip.sample_rate, (clip.audio * 32767).astype("int16"))
        rows.append([str(image), str(song)])
    return rows


def build_app(
    pipeline: DabFusionPipeline, limits: Limits, examples: list[list[str]] | None = None
) -> gr.Blocks:
    """Build the page.

    Args:
        pipeline: A trained pipeline.
        limits: Limits of the files and dances.
        examples: Rows of image and song files.
    """
    length = (
        f"{limits.song_s / 60:.3g} minutes" if limits.song_s >= 60 else f"{limits.song_s:g} seconds"
    )
    with gr.Blocks(title="DabFusion", analytics_enabled=False, delete_cache=(600, 3600)) as app:
        gr.Markdown(
            "# An image and a song in, a dance out\n"
            f"The image: one whole person, at most {limits.file_mb:g} MB. The song: at most "
            f"{length} and {limits.file_mb:g} MB. They stay on this server."
        )
        with gr.Row():
            with gr.Column():
                inputs = _inputs(limits, pipeline.settings.guidance_scale)
                button = gr.Button("Dance", variant="primary")
            with gr.Column():
                video = gr.Video(label="Dance", autoplay=True)
                ticks = gr.HTML(label="Beats")
                score = gr.Markdown()
        button.click(
            dance_function(pipeline, limits), inputs, [video, ticks, score], api_name="dance"
        )
        if examples:
            gr.Examples(examples, inputs[:2], label="Examples")
    app.queue(max_size=QUEUE, default_concurrency_limit=1)
    return app


def dance_function(
    pipeline: DabFusionPipeline, limits: Limits
) -> Callable[..., tuple[str, str, str]]:
    """Return the function of a request, with arguments in the order of the page's inputs."""
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
        try:
            return make_dance(
                pipeline,
                check_image(image, limits),
                check_song(song, limits),
                Path(work.name),
                seconds=float(seconds),
                guidance_scale=float(guidance_scale),
                seed=int(seed),
                limits=limits,
                progress=lambda done, total: progress((done, total), desc="Dancing"),
            )
        except (DataError, ValueError) as error:
            raise gr.Error(one_line(error), duration=None, print_exception=False) from error

    return dance


def _inputs(limits: Limits, guidance_scale: float) -> list[Any]:
    """Add the inputs to the page: image, song, seconds, weight of the music, seed."""
    image = gr.Image(label="Image", type="filepath", sources=["upload", "clipboard"], height=260)
    # Files are passed on as uploaded, so that our own checks can explain what is wrong with them.
    # (Gradio would write a stub file for a subclass.)
    image.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
    song = gr.Audio(label="Song", type="filepath", sources=["upload"], editable=False, buttons=[])
    seconds = gr.Slider(
        1, limits.dance_s, value=min(4.0, limits.dance_s), step=0.5, label="Seconds"
    )
    guidance = gr.Slider(0, 5, value=guidance_scale, step=0.1, label="Weight of the music")
    seed = gr.Number(value=0, precision=0, minimum=0, label="Seed")
    return [image, song, seconds, guidance, seed]


def launch_app(app: gr.Blocks, limits: Limits, host: str, port: int) -> tuple[str, int]:
    """Serve the page in the background; return its address and port.

    Args:
        app: From `build_app`.
        limits: As given there.
        host: 127.0.0.1 makes it reachable from this computer only.
        port: 0 takes any free one.
    """
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
    return address, int(app.server_port)
