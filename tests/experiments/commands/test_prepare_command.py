"""`dabfusion prepare` from the command line: embeddings on request, a full disk, what is said."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import NAMES, SIZE, TINY

from datamodules.index import read_index
from datamodules.media.video import write_video
from datamodules.synthetic.dataset import DanceSpec, render_clip
from experiments import cli
from experiments.caching.features import music_stores
from experiments.config.load import settings_from_words
from experiments.factories.data import build_clip_data
from lightning_modules.music.wav2clip import Wav2ClipEncoder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five dances of all three splits."""
    folder = tmp_path_factory.mktemp("videos")
    for name in NAMES[::2] + NAMES[-1:]:
        clip = render_clip(DanceSpec(name=name, size=SIZE, seconds=1.6))
        write_video(folder / f"{name}.mp4", clip.frames, clip.fps, clip.audio, clip.sample_rate)
    return folder


def test_embeddings_are_those_that_training_looks_for(videos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights, out = tmp_path / "Wav2CLIP.pt", tmp_path / "out"
    torch.save(Wav2ClipEncoder().state_dict(), weights)
    words = [word for word in TINY if not word.startswith("music.wav2clip")]
    words += ["music.wav2clip=true", f"music.wav2clip_weights={weights}"]
    assert cli.main(["prepare", str(videos), str(out), *words, "--embeddings"]) == 0
    settings = settings_from_words([*words, f"data={out}"])
    (store,) = music_stores(settings, read_index(out)).values()
    data = build_clip_data(settings, 2, frames="none", music=[store])
    for split in ("train", "val", "test"):
        dataset = data.dataset(split)  # type: ignore[arg-type]
        batch = dataset.__getitems__(range(len(dataset)))
        assert batch.music["wav2clip"].shape == (len(dataset), 4, 512)
        assert batch.music["wav2clip"].std() > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["music.clap=true"], "music.clap_weights=PATH"),
        (["music.clap=false"], "--embeddings has nothing to compute"),
    ],
)
def test_embeddings_that_cannot_be_are_refused_before_anything_is_done(
    words: list[str], said: str, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main(["prepare", str(videos), str(out), *TINY, *words, "--embeddings"]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_full_disk_is_one_sentence_and_a_second_run_goes_on(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file may grow larger than some bytes: the nearest to a full disk that a test can make."""
    out = tmp_path / "out"
    command = ["prepare", str(videos), str(out), f"clips.size={SIZE}"]
    limit = (9_000, 9_000)  # less than most clips; workers inherit it
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", *command, "--workers", "2"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert f"no space left for {out}" in sentence
    assert "run the same command again" in sentence
    assert not list(out.rglob("*.partial"))
    assert cli.main([*command, "--workers", "1"]) == 0
    assert "5 videos are prepared" in capsys.readouterr().out
