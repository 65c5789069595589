"""`dabfusion demo`: a local page to try a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Open a page on this computer: drop an image and a song, get the dance.

The page shows progress, the dance with its beats, and its score. It is reachable from this computer
only, unless --host says otherwise. It needs Gradio (`pip install "gradio>=5"`), which `make`
installs."""

EXAMPLES = [
    "dabfusion demo runs/diffusion-aist128",
    "dabfusion demo RUN --port 8000 --max-seconds 30 --no-browser",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="run or pipeline folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve (this computer)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one (7860)")
    parser.add_argument("--max-seconds", type=float, default=20.0, help="longest dance (20)")
    parser.add_argument("--max-mb", type=float, default=20.0, help="largest file (20)")
    parser.add_argument("--clap-weights", type=Path, help="for models trained with CLAP")
    parser.add_argument("--wav2clip-weights", type=Path, help="for models trained with Wav2CLIP")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")


def run(args: argparse.Namespace) -> int:
    """Load the model and serve the page until Ctrl-C."""
    import socket
    import tempfile
    import webbrowser

    from experiments.errors import SettingsError

    if args.max_seconds < 1 or args.max_mb <= 0:
        raise SettingsError(
            f"--max-seconds is {args.max_seconds:g} and --max-mb {args.max_mb:g}; give at least 1 "
            "second and more than 0 MB."
        )
    try:  # before the model is loaded
        family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
        socket.create_server((args.host, args.port), family=family).close()
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).split(" (")[0]
        raise SettingsError(
            f"Nothing can be served at {args.host}, port {args.port} ({reason}); give another "
            "--port (0 takes a free one) or --host."
        ) from error
    try:
        from experiments.generation.demo import Limits, build_app, launch_app, write_examples
    except ImportError as error:
        if error.name != "gradio":
            raise
        raise SettingsError(
            'The demo needs Gradio, which is not installed: pip install "gradio>=5".'
        ) from error
    from experiments.generation.load import load_pipeline

    limits = Limits(file_mb=args.max_mb, dance_s=args.max_seconds)
    pipeline = load_pipeline(args.model, args.clap_weights, args.wav2clip_weights)
    with tempfile.TemporaryDirectory(prefix="dabfusion-examples-") as folder:
        app = build_app(pipeline, limits, write_examples(Path(folder), pipeline.settings.size))
        address = launch_app(app, limits, args.host, args.port)
        print(f"Open {address} (Ctrl-C ends it).", flush=True)
        if args.host not in ("127.0.0.1", "localhost", "::1"):
            print("It is reachable from other computers: anyone there can use it.", flush=True)
        if not args.no_browser:
            webbrowser.open(address)
        app.block_thread()
    return 0
