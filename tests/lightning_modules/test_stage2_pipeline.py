"""The pipeline: any image, any song, saved and loaded bit by bit, without Lightning."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_pipeline

from datamodules.errors import DataError
from datamodules.media.images import read_image
from lightning_modules.errors import CheckpointError
from lightning_modules.generation.inputs import as_pixels
from lightning_modules.pipeline import DabFusionPipeline, DanceRequest

ROOT = Path(__file__).resolve().parents[2]
RATE = 22050


@pytest.fixture(scope="module")
def pipe() -> DabFusionPipeline:
    return tiny_pipeline({"data": "rendered", "scores": {"align_corrected": 0.5}})


@pytest.fixture(scope="module")
def song() -> np.ndarray:
    """Clicks at 120 beats per minute, 3 s."""
    audio = np.zeros(3 * RATE, dtype=np.float32)
    for beat in np.arange(0.2, 3.0, 0.5):
        start = int(beat * RATE)
        audio[start : start + 400] = np.sin(np.arange(400) * 0.3) * np.exp(-np.arange(400) / 80)
    return audio


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.arange(3 * 50 * 30).remainder(255).reshape(3, 50, 30).to(torch.uint8)


def test_a_dance_has_the_asked_length_and_the_songs_beats(pipe, image, song) -> None:
    dance = pipe(image, song, sample_rate=RATE, seconds=1.2)
    assert dance.frames.shape == (12, 3, 32, 32)
    assert dance.frames.dtype == torch.uint8
    assert dance.latent_flow.shape == (12, 3, 8, 8)
    assert len(dance.audio) == round(1.2 * RATE)
    inside = dance.beats_s[(dance.beats_s > 0.1) & (dance.beats_s < 2.6)]
    nearest = np.abs(inside[:, None] - np.arange(0.2, 3.0, 0.5)).min(axis=1)
    assert len(inside) >= 4
    assert nearest.max() < 0.04
    assert dance.flow is dance.latent_flow
    assert dance.beats.tolist() == [beat for beat in dance.beats_s if beat < 1.2]


def test_no_seconds_means_to_the_end_of_the_song(pipe, image, song) -> None:
    assert len(pipe(image, song, sample_rate=RATE, start_s=1.0).frames) == 20


def test_the_same_seed_gives_the_same_video_and_another_another(pipe, image, song) -> None:
    first, again, other = (
        pipe(image, song, sample_rate=RATE, seconds=0.8, generator=seed) for seed in (3, 3, 4)
    )
    assert torch.equal(first.frames, again.frames)
    assert not torch.equal(first.latent_flow, other.latent_flow)
    own = torch.Generator().manual_seed(3)
    given = pipe(image, song, sample_rate=RATE, seconds=0.8, generator=own)
    assert torch.equal(given.frames, first.frames)


def test_any_kind_of_picture_gives_the_same_dance(pipe, image, song, tmp_path) -> None:
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "person.png")
    kinds = (
        image,
        image.permute(1, 2, 0).numpy(),
        image.float() / 255,
        Image.open(tmp_path / "person.png"),
        tmp_path / "person.png",
    )
    dances = [pipe(kind, song, sample_rate=RATE, seconds=0.5).frames for kind in kinds]
    assert all(torch.equal(dances[0], dance) for dance in dances[1:])


def test_a_batch_equals_its_singles_whatever_their_lengths(pipe, image, song) -> None:
    requests = [
        DanceRequest(image, song, RATE, generator=1),
        DanceRequest(image.flip(2), song[: 2 * RATE], RATE, generator=2),
        DanceRequest(image.flip(1), song[RATE:], RATE, generator=3),
    ]
    together = pipe.batch(requests)
    assert [len(dance.frames) for dance in together] == [30, 20, 20]
    for request, dance in zip(requests, together, strict=True):
        single = pipe.batch([request])[0]
        torch.testing.assert_close(dance.latent_flow, single.latent_flow, rtol=0, atol=1e-5)


def test_saving_and_loading_keeps_every_bit_without_lightning(
    pipe, image, song, tmp_path: Path
) -> None:
    expected = pipe(image, song, sample_rate=RATE, seconds=1.0, generator=5)
    pipe.save_pretrained(tmp_path / "export")
    torch.save({"image": image, "song": torch.from_numpy(song)}, tmp_path / "input.pt")
    code = f"""
import sys, torch
from lightning_modules.pipeline import DabFusionPipeline
given = torch.load({str(tmp_path / "input.pt")!r}, weights_only=True)
pipe = DabFusionPipeline.from_pretrained({str(tmp_path)!r})
dance = pipe(given["image"], given["song"].numpy(), sample_rate={RATE}, seconds=1.0, generator=5)
assert "lightning" not in sys.modules
torch.save({{"flow": dance.latent_flow, "frames": dance.frames}}, {str(tmp_path / "output.pt")!r})
"""
    torch.set_num_threads(torch.get_num_threads())
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    found = torch.load(tmp_path / "output.pt", weights_only=True)
    assert torch.equal(found["flow"], expected.latent_flow)
    assert torch.equal(found["frames"], expected.frames)


def test_the_card_names_data_scores_and_consent(pipe, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "rendered" in card
    assert "align_corrected" in card
    assert "agreed" in card
    assert not list(tmp_path.rglob("*.part"))


def test_the_card_says_whether_the_dancers_were_rendered(tmp_path: Path) -> None:
    for rendered in (True, False):
        folder = tmp_path / str(rendered)
        tiny_pipeline({"rendered_dancers": rendered}).save_pretrained(folder)
        card = (folder / "README.md").read_text()
        assert ("trained on rendered dancers" in card) is rendered
        assert DabFusionPipeline.from_pretrained(folder).notes["rendered_dancers"] is rendered


def test_what_is_no_pipeline_is_refused_with_a_sentence(pipe, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no pipeline"):
        DabFusionPipeline.from_pretrained(tmp_path)
    pipe.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="stage 1"):
        DabFusionPipeline.from_pretrained(tmp_path / "autoencoder")
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "format_version": 99}))
    with pytest.raises(CheckpointError, match="99"):
        DabFusionPipeline.from_pretrained(tmp_path)


def test_a_song_that_is_too_short_is_refused(pipe, image, song) -> None:
    with pytest.raises(ValueError, match="longer song"):
        pipe(image, song, sample_rate=RATE, start_s=2.95)
    with pytest.raises(ValueError, match="sample_rate"):
        pipe(image, song)


def test_numbers_that_cannot_be_are_refused(pipe, image, song) -> None:
    for given, words in (
        ({"start_s": -1.0}, "start"),
        ({"start_s": float("nan")}, "start"),
        ({"tempo_bpm": -5.0}, "tempo"),
        ({"tempo_bpm": float("nan")}, "tempo"),
        ({"sample_rate": 22050.5}, "whole number"),
        ({"sample_rate": float("nan")}, "whole number"),
    ):
        with pytest.raises(DataError, match=words):
            pipe(image, song, **{"sample_rate": RATE, **given})
    with pytest.raises(DataError, match="signed"):
        pipe(image, np.zeros(3 * RATE, np.uint8), sample_rate=RATE)
    with pytest.raises(DataError, match="finite"):
        pipe(image, np.full(3 * RATE, np.nan, np.float32), sample_rate=RATE)


@pytest.mark.parametrize("name", ["guidance_scale", "image_guidance_scale"])
@pytest.mark.parametrize("scale", [-1.0, -1e-9, float("nan"), float("inf"), -float("inf")])
def test_guidance_scales_below_zero_or_not_finite_are_refused(
    pipe, image, song, name: str, scale: float
) -> None:
    with pytest.raises(DataError, match=f"^{name} is"):
        pipe(image, song, sample_rate=RATE, seconds=0.5, **{name: scale})


def test_whole_numbers_are_samples_too(pipe, image, song) -> None:
    words = {"sample_rate": RATE, "seconds": 1.0, "generator": 0}
    whole = pipe(image, (song * 32767).round().astype(np.int16), **words)
    assert np.abs(whole.audio).max() <= 1.0
    assert np.allclose(whole.audio, pipe(image, song, **words).audio, atol=1e-4)


def test_an_opened_picture_is_its_file(tmp_path: Path) -> None:
    """Turned by its EXIF tag and over white, as a path is read."""
    turned = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(10, 20, 3))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    clear = Image.fromarray(np.full((8, 8, 4), (10, 20, 30, 0), dtype=np.uint8))
    clear.save(tmp_path / "clear.png")
    for name in ("turned.png", "clear.png"):
        with Image.open(tmp_path / name) as opened:
            assert torch.equal(as_pixels(opened), read_image(tmp_path / name))


def test_a_dance_is_saved_with_its_sound(pipe, image, song, tmp_path: Path) -> None:
    from datamodules.media.video import probe

    path = pipe(image, song, sample_rate=RATE, seconds=1.0).save(tmp_path / "dance.mp4")
    info = probe(path)
    assert info.has_audio
    assert info.frames == 10
