"""The README's commands do what they say: run word for word on toy data and networks."""

import re
import shlex
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_runs import NAMES, SIZE, TINY

from datamodules.media.video import write_video
from datamodules.synthetic.dataset import DanceSpec, render_clip
from experiments import cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """The words of every line of the shell blocks, continued lines joined, comments dropped."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a user has: videos, an image, a song."""
    folder = tmp_path_factory.mktemp("desk")
    for name in NAMES:
        clip = render_clip(DanceSpec(name=name, size=SIZE, seconds=2.0))
        path = folder / "VIDEOS" / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        write_video(path, clip.frames, clip.fps, audio=clip.audio, sample_rate=clip.sample_rate)
    Image.fromarray(clip.frames[0].permute(1, 2, 0).numpy()).resize((90, 120)).save(
        folder / "person.jpg"
    )
    # FFmpeg goes by the content, not by the name.
    with wave.open(str(folder / "song.mp3"), "wb") as song:
        song.setnchannels(1)
        song.setsampwidth(2)
        song.setframerate(clip.sample_rate)
        song.writeframes((clip.audio * 32767).astype(np.int16).tobytes())
    return folder


def shrunk(words: list[str]) -> list[str]:
    """A command of the README with the toy's settings behind its own."""
    words = ["VIDEOS" if word == "VIDEOS_OF_ANY_METHOD" else word for word in words]
    if words[0] == "train":
        return [*words, *TINY, "stage1.train.steps=2", "stage2.train.steps=2"]
    if words[0] == "prepare":
        return [*words, f"clips.size={SIZE}", "--workers", "1"]
    return words


def test_the_commands_for_your_own_data(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    typed = [words[1:] for words in commands() if words[0] == "dabfusion"]
    assert [words[0] for words in typed] == [
        *("prepare", "doctor", "train", "train", "generate", "evaluate")
    ]
    for words in typed:
        assert cli.main(shrunk(words)) == 0, words
    assert (desk / "dance.mp4").exists()

    python = blocks("python")[0].replace("quickstart/diffusion", "runs/stage2")
    done = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [words[1] for words in commands() if words[0] == "make"]
    assert targets == ["quickstart", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_the_table_names_every_command_and_no_other() -> None:
    table = README.split("## Commands")[1].split("\n## ")[0]
    named = {
        word
        for cell in re.findall(r"^\| (`.*?`(?:, `.*?`)*) \|", table, flags=re.MULTILINE)
        for word in re.findall(r"`(?:dabfusion )?([a-z-]+)", cell)
    }
    assert named == set(cli.verbs()) - {"completion"}


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / link).exists(), link
