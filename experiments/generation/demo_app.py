"""The demo's page (Gradio): a picture and a song in, a dance out; one at a time, others wait."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from datamodules.errors import DataError
from experiments.generation.demo_dance import (
    Limits,
    check_picture,
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


def uploaded_path(payload: Any) -> str | None:
    """The uploaded file as it is: what is in it is for us to find out, and to say in a sentence."""
    return None if payload is None else payload.path


def build_app(
    pipeline: DabFusionPipeline, limits: Limits, examples: list[list[str]] | None = None
) -> gr.Blocks:
    """The page, ready to be launched.

    Args:
        pipeline: trained.
        limits: what is accepted.
        examples: rows of picture and song files.
    """
    minutes, seconds = limits.song_s / 60, limits.song_s
    length = f"{minutes:.3g} minutes" if seconds >= 60 else f"{seconds:g} seconds"
    with gr.Blocks(title="DabFusion", analytics_enabled=False, delete_cache=(600, 3600)) as app:
        gr.Markdown(
            "# A picture and a song in, a dance out\n"
            f"The picture: one whole person, at most {limits.file_mb:g} MB. The song: at most "
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
    """What one request does, with the arguments in the order of the page's inputs."""
    # Gradio copies what it serves into its own cache; this is removed with the function below.
    work = tempfile.TemporaryDirectory(prefix="dabfusion-demo-")

    def dance(
        picture: str | None,
        song: str | None,
        seconds: float,
        guidance_scale: float,
        seed: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it by this default
    ) -> tuple[str, str, str]:
        """One request: checked, danced, scored."""
        try:
            answer = make_dance(
                pipeline,
                check_picture(picture, limits),
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
        return str(answer.video), answer.ticks, answer.score

    return dance


def _inputs(limits: Limits, guidance_scale: float) -> list[Any]:
    """Picture, song, seconds, weight of the music, seed: added to the page, in this order."""
    picture = gr.Image(
        label="Picture", type="filepath", sources=["upload", "clipboard"], height=260
    )
    # A subclass would do too, but Gradio writes a stub beside a subclass's file.
    picture.preprocess = uploaded_path  # type: ignore[method-assign]
    song = gr.Audio(label="Song", type="filepath", sources=["upload"], editable=False, buttons=[])
    seconds = gr.Slider(
        1, limits.dance_s, value=min(4.0, limits.dance_s), step=0.5, label="Seconds"
    )
    guidance = gr.Slider(0, 5, value=guidance_scale, step=0.1, label="Weight of the music")
    seed = gr.Number(value=0, precision=0, minimum=0, label="Seed")
    return [picture, song, seconds, guidance, seed]


def launch_app(
    app: gr.Blocks, limits: Limits, host: str, port: int, block: bool = True
) -> tuple[str, int]:
    """Serve the page; returns its address and port.

    Args:
        app: from ``build_app``.
        limits: as given there.
        host: 127.0.0.1 keeps it on this computer.
        port: 0 takes any free one.
        block: wait until Ctrl-C.
    """
    # System fonts: the default theme would ask a server for its own.
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    _, address, _ = app.launch(
        server_name=host,
        server_port=port or None,
        share=False,
        quiet=True,
        show_error=True,
        prevent_thread_lock=not block,
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
