"""cache, train diffusion and generate: from tiny data to a video, with and without CLAP."""

import json
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


def test_a_person_is_cut_out_and_set_into_the_exported_scene(
    diffusion, picture, song, tmp_path, capsys
) -> None:
    pipe = DabFusionPipeline.from_pretrained(diffusion)
    assert pipe.scene is not None
    assert pipe.scene.background.shape == (3, 32, 32)
    mask = np.zeros((90, 60), np.uint8)
    mask[20:80, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "dance.mp4"
    words = ["generate", str(diffusion), str(picture), str(song), str(out), "--seconds", "0.4"]
    assert cli.main([*words, "--mask", str(tmp_path / "mask.png")]) == 0
    assert read_frames(out).shape[0] == 4
    assert cli.main([*words, "--person-height", "0.5"]) == 2
    assert "--segmenter" in capsys.readouterr().err
    assert cli.main([*words, "--segmenter", str(tmp_path)]) == 2
    assert "segmentation model" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_list_of_dances_equals_its_single_ones(kind, diffusion, picture, song, tmp_path) -> None:
    rows = [
        {"picture": str(picture), "song": str(song), "out": "a.mp4", "seed": 3},
        {"picture": str(picture), "song": str(song), "out": "more/b.mp4", "start": 0.5},
        {"picture": str(picture), "song": str(song), "out": "c.mp4"},
    ]
    table = tmp_path / f"dances.{kind}"
    if kind == "csv":
        columns = ["picture", "song", "out", "seed", "start"]
        lines = [",".join(str(row.get(name, "")) for name in columns) for row in rows]
        table.write_text("\n".join([",".join(columns), *lines]))
    else:
        table.write_text(json.dumps(rows))
    words = ["--list", str(table), "--seconds", "0.4", "--batch", "2"]
    assert cli.main(["generate", str(diffusion), str(tmp_path), *words]) == 0
    alone = ["generate", str(diffusion), str(picture), str(song), str(tmp_path / "alone.mp4")]
    assert cli.main([*alone, "--seconds", "0.4", "--seed", "3"]) == 0
    frames = {name: read_frames(tmp_path / f"{name}.mp4") for name in ("a", "more/b", "c", "alone")}
    assert torch.equal(frames["a"], frames["alone"])
    assert not torch.equal(frames["a"], frames["c"])
    assert probe(tmp_path / "more" / "b.mp4").has_audio


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("picture,song\nPICTURE,SONG", "lacks out"),
        ("picture,song,out,speed\nPICTURE,SONG,a.mp4,2", "speed"),
        ("picture,song,out,seed\nPICTURE,SONG,a.mp4,x", "no number"),
        ("picture,song,out\nPICTURE,SONG,a.mp4\nPICTURE,SONG,a.mp4", "twice"),
        ("picture,song,out\nabsent.png,SONG,a.mp4", "absent.png"),
        ("picture,song,out\n", "lists no dance"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_sentence(
    text, expected, diffusion, picture, song, tmp_path, capsys
) -> None:
    table = tmp_path / "dances.csv"
    table.write_text(text.replace("PICTURE", str(picture)).replace("SONG", str(song)))
    assert cli.main(["generate", str(diffusion), str(tmp_path), "--list", str(table)]) == 2
    printed = capsys.readouterr().err
    assert expected in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"out": "dance.avi"}, "ends in .mp4"),
        ({"picture": "absent.png"}, "absent.png"),
        ({"song": "PICTURE"}, "no sound"),
        ({"picture": "SONG"}, "not an image"),
        ({"model": "AUTOENCODER"}, "stage 1"),
        ({"more": ["--steps", "0"]}, "above 0"),
        ({"more": ["--steps", "2000"]}, "give 1 to 1000 steps"),
        ({"more": ["--seconds", "nan"]}, "finite number"),
        ({"more": ["--threads", "-1"]}, "cannot be negative"),
        ({"more": ["--sheet", "sheet.txt"]}, "ends in .png"),
        ({"out": "PICTURE/dance.mp4"}, "is a file where a folder was expected"),
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
    if change.get("out") == "PICTURE/dance.mp4":
        given["out"] = picture / "dance.mp4"
    status = cli.main(["generate", *(str(v) for v in given.values()), *more])
    assert status == 2
    printed = capsys.readouterr().err
    assert expected in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "a.mp4").exists()


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
