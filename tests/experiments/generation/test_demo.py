"""The demo over HTTP and in a real browser: dances, refusals, the queue, and file access."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile
from tiny_models import tiny_pipeline

pytest.importorskip("gradio", reason="the demo's extra is not installed")

from experiments.generation.demo import Limits, build_app, launch_app, write_examples

LIMITS = Limits(file_mb=1.0, song_s=5.0, dance_s=3.0, pixels=1_000_000)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    torch.set_num_threads(1)
    examples = write_examples(tmp_path_factory.mktemp("examples"), 64, seconds=3.0)
    app = build_app(tiny_pipeline(), LIMITS, examples)
    found = launch_app(app, LIMITS, "127.0.0.1", 0)
    yield found.rstrip("/")
    app.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("files")
    rate = 22050
    names = {name: root / name for name in ("person.png", "huge.png", "text.png", "long.wav")}
    names |= {name: root / name for name in ("song.wav", "text.wav", "heavy.wav", "short.wav")}
    pixels = np.random.default_rng(0).integers(0, 255, (60, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(names["person.png"])
    Image.new("L", (1200, 1000)).save(names["huge.png"])
    names["text.png"].write_text("no image")
    names["text.wav"].write_text("no sound")
    clicks = np.zeros(3 * rate, dtype=np.int16)
    for beat in np.arange(0.2, 3.0, 0.5):
        clicks[int(beat * rate) : int(beat * rate) + 300] = 20000
    wavfile.write(names["song.wav"], rate, clicks)
    wavfile.write(names["short.wav"], rate, clicks[: 2 * rate])
    wavfile.write(names["long.wav"], 8000, np.zeros(8 * 8000, dtype=np.int16))
    wavfile.write(names["heavy.wav"], 44100, np.zeros(2 * 44100 * 8, dtype=np.int16))
    return names


def upload(address: str, path: Path) -> str:
    with path.open("rb") as file:
        answer = httpx.post(f"{address}/gradio_api/upload", files={"files": (path.name, file)})
    answer.raise_for_status()
    return str(answer.json()[0])


def ask(address: str, picture: str, song: str, seconds: float = 1.0) -> tuple[str, Any]:
    """One request over HTTP; returns the last event's name and data."""
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in (picture, song)]
    posted = httpx.post(
        f"{address}/gradio_api/call/dance", json={"data": [*data, seconds, 1.0, 0]}, timeout=60
    )
    if posted.status_code != 200:
        return "refused", posted.text
    event = posted.json()["event_id"]
    stream = httpx.get(f"{address}/gradio_api/call/dance/{event}", timeout=120).text
    blocks = [block for block in stream.strip().split("\n\n") if "event:" in block]
    name, _, content = blocks[-1].partition("\n")
    return name.removeprefix("event: "), json.loads(content.removeprefix("data: "))


def test_dances_over_http(address: str, files: dict[str, Path], tmp_path: Path) -> None:
    from datamodules.media.video import probe, read_frames

    event, data = ask(
        address, upload(address, files["person.png"]), upload(address, files["song.wav"])
    )
    assert event == "complete"
    video, ticks, score = data
    url = video.get("url") or video["video"]["url"]
    (tmp_path / "dance.mp4").write_bytes(httpx.get(url).content)
    assert probe(tmp_path / "dance.mp4").has_audio
    assert read_frames(tmp_path / "dance.mp4").shape == (10, 3, 32, 32)
    assert 'class="music"' in ticks
    assert "2D-MM Align" in score
    assert "requested" not in score


def test_a_song_shorter_than_requested_is_said(address: str, files: dict[str, Path]) -> None:
    picture, song = upload(address, files["person.png"]), upload(address, files["short.wav"])
    event, data = ask(address, picture, song, seconds=3.0)
    assert event == "complete"
    assert "lasts 2.0 s, although 3 s were requested: the song ends there" in data[2]


@pytest.mark.parametrize(
    ("picture", "song", "words"),
    [
        ("text.png", "song.wav", "This is not an image"),
        ("song.wav", "song.wav", "This is not an image"),
        ("huge.png", "song.wav", "1200 x 1000 pixels"),
        ("person.png", "text.wav", "This is not sound"),
        ("person.png", "person.png", "sound"),
        ("person.png", "long.wav", "8 s long"),
    ],
)
def test_refuses_in_a_sentence(
    address: str, files: dict[str, Path], picture: str, song: str, words: str
) -> None:
    event, data = ask(address, upload(address, files[picture]), upload(address, files[song]))
    assert event == "error"
    assert words in json.dumps(data)
    assert "/tmp" not in json.dumps(data)


def test_refuses_what_is_too_large(address: str, files: dict[str, Path]) -> None:
    with files["heavy.wav"].open("rb") as file:
        answer = httpx.post(f"{address}/gradio_api/upload", files={"files": ("heavy.wav", file)})
    assert answer.status_code == 413


def test_dance_length_is_limited(address: str, files: dict[str, Path]) -> None:
    picture, song = upload(address, files["person.png"]), upload(address, files["song.wav"])
    event, data = ask(address, picture, song, seconds=99.0)
    assert event in ("error", "refused")
    assert "complete" not in json.dumps(data)


@pytest.mark.parametrize("path", ["/etc/passwd", "setup.cfg", "../../../etc/passwd"])
def test_paths_outside_its_folder_are_refused(
    address: str, files: dict[str, Path], path: str
) -> None:
    absolute = str(Path(path).resolve())
    for name in (path, absolute):
        answer = httpx.get(f"{address}/gradio_api/file={name}")
        assert answer.status_code in (403, 404)
        event, _ = ask(address, name, upload(address, files["song.wav"]))
        assert event in ("error", "refused")


@pytest.mark.long
def test_ten_requests_at_once_are_queued_not_lost(address: str, files: dict[str, Path]) -> None:
    picture, song = upload(address, files["person.png"]), upload(address, files["song.wav"])
    events: list[str] = []

    def one() -> None:
        events.append(ask(address, picture, song)[0])

    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert events == ["complete"] * 10


def test_bound_to_loopback(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")


@pytest.mark.long
def test_in_the_browser(
    address: str, files: dict[str, Path], open_page: Callable[..., Any]
) -> None:
    page = open_page(address)
    page.locator("input[accept*=image]").set_input_files(files["person.png"])
    page.wait_for_selector("img[src*='person.png']")
    page.locator("input[accept*=audio]").set_input_files(files["song.wav"])
    page.wait_for_selector("text=0:03")
    page.get_by_role("button", name="Dance", exact=True).click()
    page.wait_for_selector("svg.ticks", timeout=60000)
    page.wait_for_function(
        "[...document.querySelectorAll('video')].some(v => v.duration > 0.5)", timeout=30000
    )
    assert "2D-MM Align" in page.inner_text("body")
    assert page.locator("svg.ticks .music").count() > 0


def uploaded(response: Any) -> bool:
    """The answer to an upload, not to a question about its progress."""
    return "/upload?" in response.url and response.request.method == "POST"


def put_in(page: Any, kind: str, path: Path) -> None:
    """Drop a file on the picture's or the song's field, and wait until the server has it."""
    with page.expect_response(uploaded) as answered:
        page.locator(f"input[accept*={kind}]").set_input_files(path)
    answered.value.finished()


def press_dance(page: Any) -> None:
    page.get_by_role("button", name="Dance", exact=True).click()


def test_browser_shows_what_is_missing(address: str, open_page: Callable[..., Any]) -> None:
    page = open_page(address)
    press_dance(page)
    page.wait_for_selector("text=An image is missing")


@pytest.mark.long
@pytest.mark.parametrize(
    ("picture", "song", "words"),
    [
        ("text.png", "song.wav", "This is not an image"),
        ("huge.png", "song.wav", "1200 x 1000 pixels"),
        ("person.png", "text.wav", "This is not sound"),
        ("person.png", "long.wav", "8 s long"),
    ],
)
def test_browser_shows_the_refusal(
    address: str,
    files: dict[str, Path],
    chromium: Any,
    picture: str,
    song: str,
    words: str,
) -> None:
    # Not `open_page`: a broken picture or sound is an error in the browser's own console, too.
    page = chromium.new_page()
    page.goto(address)
    put_in(page, "image", files[picture])
    put_in(page, "audio", files[song])
    press_dance(page)
    page.wait_for_selector(f"text={words}", timeout=60000)
    assert page.locator("svg.ticks").count() == 0
    page.close()


@pytest.mark.long
def test_browser_refuses_what_is_too_large(
    address: str, files: dict[str, Path], chromium: Any
) -> None:
    page = chromium.new_page()
    page.goto(address)
    page.locator("input[accept*=audio]").set_input_files(files["heavy.wav"])
    # The page knows the limit and does not send the file at all.
    page.wait_for_selector("text=Error", timeout=60000)
    assert page.locator("text=0:0").count() == 0
    assert "at most 5 seconds and 1 MB" in page.inner_text("body")
    page.close()


@pytest.mark.parametrize("path", ["/etc/passwd", "setup.cfg", "..%2f..%2f..%2fetc%2fpasswd"])
def test_browser_cannot_read_other_files(address: str, chromium: Any, path: str) -> None:
    page = chromium.new_page()
    answer = page.goto(f"{address}/gradio_api/file={path}")
    assert answer.status in (403, 404)
    assert "root:" not in page.content()
    page.close()


@pytest.mark.long
def test_ten_pages_at_once_all_get_their_dance(
    address: str, files: dict[str, Path], open_page: Callable[..., Any]
) -> None:
    pages = [open_page(address) for _ in range(10)]
    for page in pages:
        put_in(page, "image", files["person.png"])
        put_in(page, "audio", files["song.wav"])
    for page in pages:
        press_dance(page)
    for page in pages:
        page.wait_for_selector("svg.ticks", timeout=240000)
        assert "2D-MM Align" in page.inner_text("body")


@pytest.mark.long
def test_an_example_is_one_click(address: str, open_page: Callable[..., Any]) -> None:
    page = open_page(address)
    page.get_by_text("house, 135 beats a minute").click()
    page.wait_for_selector("text=0:03")
    page.wait_for_selector("img[src*='house']")
    press_dance(page)
    page.wait_for_selector("svg.ticks", timeout=60000)


@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_its_width(address: str, open_page: Callable[..., Any], width: int) -> None:
    page = open_page(address, width=width)
    page.get_by_role("button", name="Dance", exact=True).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
