"""Shared runs of both stages, a headless Chromium, and short clips with sound for the pages."""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import TINY, make_data

from experiments import cli

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--mute-audio",
]
NO_CHROMIUM = "no Chromium found"


def chromium_path() -> str | None:
    named = os.environ.get("DABFUSION_CHROMIUM")
    if named:
        return named
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        found = shutil.which(name)
        if found:
            return found
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if chromium_path() is None:
        for item in items:
            if "chromium" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=NO_CHROMIUM))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    # From the reports, not from the collection: under xdist only they reach this process.
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = [report.nodeid for report in skipped if NO_CHROMIUM in str(report.longrepr)]
    if left_out:
        terminalreporter.section("LEFT OUT: no Chromium", red=True, bold=True)
        terminalreporter.line(
            f"{len(left_out)} browser tests did not run; install Chromium or set "
            "DABFUSION_CHROMIUM to its path:"
        )
        for name in left_out:
            terminalreporter.line(f"  {name}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open an address; fail at the end on any console error, page error or network request."""
    contexts = []
    problems: list[str] = []

    def opener(address: str, width: int = 1280, height: int = 900, scheme: str = "light") -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()

        def console(message: Any) -> None:
            if message.type == "error":
                problems.append(f"console: {message.text}")

        def request(sent: Any) -> None:
            if not sent.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1")):
                problems.append(f"network: {sent.url}")

        page.on("console", console)
        page.on("pageerror", lambda error: problems.append(f"page: {error}"))
        page.on("request", request)
        page.goto(address)
        return page

    yield opener
    for context in contexts:
        context.close()
    assert problems == []


def write_clip(
    path: Path,
    *,
    hue: int = 0,
    frames: int = 10,
    fps: float = 20.0,
    size: int = 64,
    moving: bool = True,
    tone_hz: float = 440.0,
) -> Path:
    """A square that moves across a plain background, with a tone."""
    from datamodules.media.video import write_video

    pixels = torch.full((frames, 3, size, size), 40, dtype=torch.uint8)
    for k in range(frames):
        phase = math.sin(2 * math.pi * k / frames) if moving else 0.0
        x = int((0.5 + 0.35 * phase) * size)
        pixels[k, hue % 3, size // 3 : 2 * size // 3, max(0, x - 6) : x + 6] = 230
    rate = 44100
    seconds = np.arange(int(rate * frames / fps)) / rate
    sound = (0.2 * np.sin(2 * np.pi * tone_hz * seconds)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, pixels, fps, audio=sound, sample_rate=rate)
    return path


@pytest.fixture(scope="session")
def clip_writer() -> Callable[..., Path]:
    return write_clip


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight prepared clips, read-only except for the cache of latent flow."""
    return make_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def autoencoder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of stage 1 of twelve steps."""
    out = tmp_path_factory.mktemp("runs") / "autoencoder"
    words = [*TINY, f"data={data}", f"out={out}", "stage1.train.steps=12"]
    assert cli.main(["train", "autoencoder", *words, "run.checkpoint_every=5"]) == 0
    return out


@pytest.fixture(scope="session")
def diffusion(data: Path, autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of stage 2 of twelve steps."""
    out = tmp_path_factory.mktemp("runs") / "diffusion"
    words = [*TINY, f"data={data}", f"autoencoder={autoencoder}", f"out={out}"]
    words += ["stage2.train.steps=12", "run.checkpoint_every=5"]
    assert cli.main(["train", "diffusion", *words]) == 0
    return out
