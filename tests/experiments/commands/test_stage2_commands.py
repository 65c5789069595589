"""cache, train diffusion and generate: from tiny data to a video, with and without CLAP."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import TINY

from datamodules.cache import FeatureStore
from datamodules.media.video import probe, read_frames
from experiments import cli
from experiments.config.load import load_settings
from experiments.factories.data import build_clip_data, build_flow_store
from lightning_modules.checkpoints import autoencoder_digest, load_autoencoder
from lightning_modules.music.clap import ClapAudioEncoder
from lightning_modules.music.wav2clip import Wav2ClipEncoder
from lightning_modules.pipeline import DabFusionPipeline


@pytest.fixture(scope="module")
def song(data: Path) -> Path:
    return sorted((data / "clips").glob("*.mp4"))[0]


@pytest.fixture(scope="module")
def picture(song: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "person.png"
    frame = read_frames(song, indices=[0])[0]
    tall = torch.nn.functional.interpolate(frame[None].float(), (90, 60))[0].to(torch.uint8)
    Image.fromarray(tall.permute(1, 2, 0).numpy()).save(path)
    return path


def flow_store(words: list[str], data: Path, autoencoder: Path) -> tuple[FeatureStore, list[str]]:
    settings = load_settings(None, [*words, f"data={data}", f"autoencoder={autoencoder}"])
    clips = build_clip_data(settings, 1)
    digest = autoencoder_digest(load_autoencoder(autoencoder))
    ids = [clip for split in ("train", "val") for clip in clips.dataset(split).clip_ids]
    return build_flow_store(settings, clips.index, digest), ids


def test_cache_is_complete_and_a_second_run_computes_nothing(data, autoencoder, capsys) -> None:
    words = [*TINY, "clips.frames=5"]
    command = ["cache", *words, f"data={data}", f"autoencoder={autoencoder}"]
    assert cli.main(command) == 0
    store, ids = flow_store(words, data, autoencoder)
    assert ids
    assert all(store.has(clip) for clip in ids)
    flow = store.get(ids[0])["latent_flow"]
    assert flow.dtype == torch.float16
    assert flow.shape[:2] == (5, 3)
    written = store.path(ids[0]).stat().st_mtime_ns
    store.path(ids[1]).unlink()
    assert cli.main(command) == 0
    assert store.has(ids[1])
    assert store.path(ids[0]).stat().st_mtime_ns == written
    other, _ = flow_store([*TINY, "clips.frames=6"], data, autoencoder)
    assert not other.has(ids[0])


def test_clap_without_weights_fails_before_anything_is_loaded(data, autoencoder, capsys) -> None:
    words = [*TINY, f"data={data}", f"autoencoder={autoencoder}", "music.clap=true"]
    assert cli.main(["train", "diffusion", *words]) == 2
    assert "music.clap_weights is empty" in capsys.readouterr().err


@pytest.mark.long
def test_a_model_with_clap_and_wav2clip_trains_and_generates(
    data, autoencoder, picture, song, tmp_path, capsys
) -> None:
    torch.manual_seed(0)
    clap, wav2clip = tmp_path / "clap.pt", tmp_path / "Wav2CLIP.pt"
    state = {f"module.{k}": v for k, v in ClapAudioEncoder().state_dict().items()}
    torch.save({"state_dict": state}, clap)
    torch.save(Wav2ClipEncoder().state_dict(), wav2clip)
    words = [w for w in TINY if not w.startswith(("music.clap", "music.wav2clip"))]
    words += ["music.clap=true", "music.clap_tokens=true", "music.wav2clip=true"]
    words += [f"music.clap_weights={clap}", f"music.wav2clip_weights={wav2clip}"]
    words += [f"data={data}", f"autoencoder={autoencoder}", f"out={tmp_path / 'run'}"]
    assert cli.main(["train", "diffusion", *words, "stage2.train.steps=2"]) == 0
    generate = ["generate", str(tmp_path / "run"), str(picture), str(song)]
    generate += [str(tmp_path / "dance.mp4"), "--seconds", "0.8"]
    capsys.readouterr()
    assert cli.main(generate) == 2
    assert "music.clap_weights" in capsys.readouterr().err
    generate += ["--clap-weights", str(clap), "--wav2clip-weights", str(wav2clip)]
    assert cli.main(generate) == 0
    assert probe(tmp_path / "dance.mp4").has_audio
    pipe = DabFusionPipeline.from_pretrained(tmp_path / "run")
    assert set(pipe.music.needs) >= {"clap", "clap_tokens", "wav2clip"}
    with pytest.raises(ValueError, match="clap"):
        pipe(picture, np.zeros(44100, dtype=np.float32), sample_rate=44100)
