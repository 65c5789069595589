"""CLAP and Wav2CLIP: the published networks, whatever package the weights come from."""

import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapFeatureExtractor

from lightning_modules.errors import CheckpointError
from lightning_modules.music.clap import (
    ClapAudioEncoder,
    fill_window,
    load_clap,
    token_dim,
    tokens_of_frames,
    weights_digest,
)
from lightning_modules.music.wav2clip import Wav2ClipEncoder, load_wav2clip
from lightning_modules.networks.music import MusicConditioner
from lightning_modules.pickled import read_pickled

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def hugging_face() -> ClapAudioModelWithProjection:
    torch.manual_seed(0)
    model = ClapAudioModelWithProjection(ClapAudioConfig(depths=[2, 2, 6, 2])).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(-30, 5)
        elif name.endswith("running_var"):
            buffer.uniform_(100, 200)
    return model


@pytest.fixture(scope="module")
def folder(hugging_face, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clap")
    hugging_face.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder) -> ClapAudioEncoder:
    return load_clap(folder)


@pytest.fixture(scope="module")
def music() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(480_000) / 48_000
    tones = sum(torch.sin(2 * np.pi * f * time) for f in (110, 440, 1320)) / 4
    return (tones * (time * 2 % 1 < 0.3) + 0.01 * torch.randn(480_000, generator=generator))[None]


def test_same_weights_and_mel_give_the_same_embedding(hugging_face, encoder) -> None:
    mel = torch.randn(2, 1, 1001, 64, generator=torch.Generator().manual_seed(1)) * 12 - 30
    with torch.no_grad():
        expected = hugging_face(input_features=mel).audio_embeds
    found = encoder.from_mel(mel).embedding
    assert torch.cosine_similarity(expected, found).min() > 0.9999


def test_the_whole_road_from_the_waveform_agrees(hugging_face, encoder, music) -> None:
    extractor = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50)
    given = extractor(music[0].numpy(), sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        expected = hugging_face(input_features=given["input_features"]).audio_embeds
    found = encoder(music).embedding
    assert torch.cosine_similarity(expected, found).min() > 0.999


def test_laions_checkpoint_and_the_folder_are_one_network(encoder, music, tmp_path) -> None:
    state = {f"module.{k}": v for k, v in encoder.state_dict().items()}
    state["module.text_branch.embeddings"] = torch.zeros(3)
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "clap.pt")
    again = load_clap(tmp_path / "clap.pt")
    assert torch.equal(encoder(music).embedding, again(music).embedding)
    assert len(weights_digest(tmp_path / "clap.pt")) == 16


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_scalars_and_every_pickle_protocol_are_read(
    encoder, tmp_path, protocol: int, zipped: bool
) -> None:
    scores = {"acc": np.float64(0.9), "loss": np.float32(0.1), "best": np.bool_(True)}
    torch.save(
        {"epoch": np.int64(15), "scores": scores, "state_dict": encoder.state_dict()},
        tmp_path / "clap.pt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = load_clap(tmp_path / "clap.pt").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in encoder.state_dict().items())
    found = read_pickled(tmp_path / "clap.pt", "a checkpoint")
    assert (found["epoch"], found["scores"]) == (15, scores)


def test_names_of_numpy_2_are_read(tmp_path) -> None:
    torch.save({"epoch": np.int64(15)}, tmp_path / "old.pt")
    with (
        zipfile.ZipFile(tmp_path / "old.pt") as old,
        zipfile.ZipFile(tmp_path / "new.pt", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name).replace(b"numpy.core.multi", b"numpy._core.multi")
            new.writestr(name, content)
    assert read_pickled(tmp_path / "new.pt", "a checkpoint") == {"epoch": 15}


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_checkpoint_with_fusion_is_refused(encoder, tmp_path, as_folder: bool) -> None:
    state = {f"module.{k}": v for k, v in encoder.state_dict().items()}
    state["module.audio_branch.patch_embed.fusion_model.local_att.0.weight"] = torch.zeros(3)
    state["module.audio_branch.patch_embed.mel_conv2d.weight"] = torch.zeros(3)
    if as_folder:
        configuration = ClapAudioConfig(depths=[2, 2, 6, 2], enable_fusion=True)
        ClapAudioModelWithProjection(configuration).save_pretrained(tmp_path / "clap")
    else:
        torch.save({"state_dict": state}, tmp_path / "clap")
    with pytest.raises(CheckpointError, match="with feature fusion"):
        load_clap(tmp_path / "clap")


def test_unknown_parts_of_the_tower_are_refused(encoder, tmp_path) -> None:
    state = {**encoder.state_dict(), "audio_branch.layers.9.blocks.0.attn.qkv.bias": torch.zeros(3)}
    torch.save({"state_dict": state}, tmp_path / "clap.pt")
    with pytest.raises(CheckpointError, match=r"audio_branch\.layers\.9"):
        load_clap(tmp_path / "clap.pt")


def test_the_larger_tower_of_laions_music_checkpoints_gives_wider_tokens(music, tmp_path) -> None:
    torch.manual_seed(0)
    larger = ClapAudioEncoder(128)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in larger.state_dict().items()}},
        tmp_path / "music.pt",
    )
    assert token_dim(tmp_path / "music.pt") == 1024
    tokens = load_clap(tmp_path / "music.pt")(music[:, :48_000]).tokens
    assert tokens.shape == (1, 32, 1024)
    conditioner = MusicConditioner(
        dim=8, beats="none", clap=False, wav2clip=False, clap_tokens=True, clap_token_dim=1024
    )
    at_frames = tokens_of_frames(tokens, 40, 10.0)
    frames = conditioner(torch.zeros(1, 40, 7), {"clap_tokens": at_frames}).frames
    assert frames is not None
    assert frames.shape == (1, 40, 8)


def test_embeddings_are_deterministic_and_tokens_follow_time(encoder, music) -> None:
    long = torch.cat((music, music.flip(1)), dim=1)
    first, again = encoder(long), encoder(long)
    assert torch.equal(first.embedding, again.embedding)
    assert first.embedding.norm(dim=1).item() == pytest.approx(1, abs=1e-5)
    assert first.tokens.shape == (1, 32, 768)
    changed = music.clone()
    changed[:, 420_000:] = 0
    difference = (encoder(changed).tokens - encoder(music).tokens).abs().mean(2)[0]
    assert difference[30] > 3 * difference[4]


def test_short_windows_repeat_and_tokens_are_read_at_frames() -> None:
    waveform = torch.arange(200_000.0)[None]
    filled = fill_window(waveform)
    assert filled.shape == (1, 480_000)
    assert torch.equal(filled[:, 200_000:400_000], waveform)
    assert not filled[:, 400_000:].any()
    assert torch.equal(fill_window(torch.arange(500_000.0)[None])[0, :5], torch.arange(5.0))
    tokens = torch.arange(32.0)[None, :, None]
    read = tokens_of_frames(tokens, frames=100, fps=10)
    assert read[0, 0, 0] == 0
    assert read[0, -1, 0] == 31
    torch.testing.assert_close(read[0, 50, 0].item(), 5.0 / (10 / 32) - 0.5)


def test_importing_the_tower_leaves_nothing_behind() -> None:
    code = (
        "import sys; from lightning_modules.music.clap import ClapAudioEncoder; ClapAudioEncoder();"
        "left = [m for m in sys.modules if m.split('.')[0] in ('clap_module', 'laion_clap')];"
        "left += ['torchvision'] if 'torchvision' in sys.modules else []; print(left)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stderr


def test_missing_or_foreign_weights_are_one_sentence(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"music\.clap_weights"):
        load_clap("")
    with pytest.raises(CheckpointError, match=r"music\.wav2clip_weights"):
        load_wav2clip("")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="no CLAP audio tower"):
        load_clap(tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a Wav2CLIP"):
        load_wav2clip(tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_clap(tmp_path / "absent.pt")


def test_wav2clip_loads_its_own_names_and_keeps_items_apart(tmp_path) -> None:
    torch.manual_seed(0)
    state = Wav2ClipEncoder().state_dict()
    assert "audio_encoder.layer2.0.downsample.1.running_var" in state
    assert "audio_transform.sequential.3.bias" in state
    torch.save(state, tmp_path / "Wav2CLIP.pt")
    encoder = load_wav2clip(tmp_path / "Wav2CLIP.pt")
    sounds = torch.randn(2, 40_000) * torch.tensor([[0.1], [0.9]])
    both = encoder.per_second(sounds)
    assert both.shape == (2, 3, 512)
    torch.testing.assert_close(both[:1], encoder.per_second(sounds[:1]), rtol=1e-4, atol=1e-5)
