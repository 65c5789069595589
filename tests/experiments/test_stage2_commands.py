"""cache, train diffusion and generate: from tiny data to a video, with and without CLAP."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import TINY

from datamodules.cache import FeatureStore
from datamodules.video import probe, read_frames
from experiments import cli
from experiments.build.data import build_clip_data, build_flow_store
from experiments.config import load_settings
from lightning_modules.checkpoints import autoencoder_digest, load_autoencoder
from lightning_modules.clap import ClapAudioEncoder
from lightning_modules.pipeline import DabFusionPipeline
from lightning_modules.wav2clip import Wav2ClipEncoder


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


def test_generate_writes_a_video_with_sound_and_a_sheet(diffusion, picture, song, tmp_path) -> None:
    out, sheet = tmp_path / "dance.mp4", tmp_path / "dance.png"
    words = ["generate", str(diffusion), str(picture), str(song), str(out)]
    assert cli.main([*words, "--seconds", "0.8", "--sheet", str(sheet), "--beat-ticks"]) == 0
    info = probe(out)
    assert info.has_audio
    assert info.frames == 8
    assert Image.open(sheet).size[0] == 10 * info.width
    again = tmp_path / "again.gif"
    assert cli.main([*words[:-1], str(tmp_path / "b.mp4"), "--seconds", "0.8"]) == 0
    assert cli.main([*words, "--seconds", "0.8", "--sheet", str(again)]) == 0
    first, second = (read_frames(p) for p in (out, tmp_path / "b.mp4"))
    assert first.shape == second.shape
    assert Image.open(again).n_frames == 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"out": "dance.avi"}, "ends in .mp4"),
        ({"picture": "absent.png"}, "absent.png"),
        ({"song": "PICTURE"}, "no sound"),
        ({"picture": "SONG"}, "not a picture"),
        ({"model": "AUTOENCODER"}, "stage 1"),
        ({"more": ["--steps", "0"]}, "above 0"),
        ({"more": ["--start", "1000"]}, "longer song"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    change, expected, diffusion, autoencoder, picture, song, tmp_path, capsys
) -> None:
    names = {"PICTURE": picture, "SONG": song, "AUTOENCODER": autoencoder}
    given = {"model": diffusion, "picture": picture, "song": song, "out": tmp_path / "a.mp4"}
    more = change.get("more", [])
    given |= {k: names.get(v, tmp_path / v) for k, v in change.items() if k != "more"}
    status = cli.main(["generate", *(str(v) for v in given.values()), *more])
    assert status == 2
    printed = capsys.readouterr().err
    assert expected in printed
    assert "Traceback" not in printed


def test_clap_without_weights_fails_before_anything_is_loaded(data, autoencoder, capsys) -> None:
    words = [*TINY, f"data={data}", f"autoencoder={autoencoder}", "music.clap=true"]
    assert cli.main(["train", "diffusion", *words]) == 2
    assert "music.clap_weights is empty" in capsys.readouterr().err


@pytest.mark.long
def test_a_model_that_hears_clap_and_wav2clip_goes_the_whole_road(
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
