"""Downloads: kept only whole and with the right digest, from a server that this test runs."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.errors import SettingsError
from experiments.generation.downloads import VGG19, PublishedFile, download

CONTENT = bytes(range(256)) * 9000  # more than two chunks


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "weights.pth").write_bytes(CONTENT)
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def published(server: str) -> PublishedFile:
    found = hashlib.sha256(CONTENT).hexdigest()
    return PublishedFile("weights.pth", f"{server}/weights.pth", found, len(CONTENT), "ours")


def test_a_file_with_the_right_digest_is_kept_and_fetched_once(server: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "kept.pth"
    seen: list[tuple[int, int]] = []
    assert download(published(server), path, progress=lambda *done: seen.append(done))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert len(seen) > 2
    nowhere = replace(published(server), url="http://127.0.0.1:1/")
    assert not download(nowhere, path)  # it is there: nobody is asked


@pytest.mark.parametrize("shorter", [0, 1_000_000])
def test_another_digest_leaves_nothing(server: str, tmp_path: Path, shorter: int) -> None:
    other = replace(published(server), sha256="0" * 64, size=len(CONTENT) - shorter)
    with pytest.raises(SettingsError, match="nothing was kept"):
        download(other, tmp_path / "kept" / "w.pth")
    assert list((tmp_path / "kept").iterdir()) == []


def test_the_command_refuses_what_is_not_vgg(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vgg19.pth"
    words = ["download", "vgg19", str(out), "--url"]
    for url in (f"{server}/weights.pth", f"{server}/missing.pth", "http://127.0.0.1:1/", "vgg"):
        assert main([*words, url]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert url in said
        assert not out.exists()
    out.write_bytes(b"mine")
    assert main([*words, f"{server}/weights.pth"]) == 2
    assert out.read_bytes() == b"mine"


def test_vgg_is_torchvisions_file() -> None:
    # torchvision puts the first eight digits of the SHA-256 into the name.
    assert VGG19.sha256.startswith(VGG19.name.removesuffix(".pth").rpartition("-")[2])
    assert VGG19.url.endswith(VGG19.name)
    assert len(bytes.fromhex(VGG19.sha256)) == 32
