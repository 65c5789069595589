"""Rendered dances through the whole road: true beats, joints and pixels arrive in the clips."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from datamodules.aist import AISTDataModule, ClipContent, WindowRule
from datamodules.index import DatasetSettings, read_index
from datamodules.media.video import read_frames
from datamodules.preparation.prepare import PrepareOptions, prepare
from datamodules.synthetic.dataset import DanceSpec, render_clip, render_dataset

RULE = WindowRule(frames=10, stride=10, fps=10.0, mirror=True)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    render_dataset(folder, seed=3, train_videos=1, seconds=2.0, size=32, workers=1)
    keep = {path.stem for path in sorted((folder / "videos").iterdir())[::8]}
    keep |= {p.stem for p in (folder / "videos").iterdir() if "_d9" not in p.name}
    for path in [*(folder / "videos").iterdir(), *(folder / "truth").iterdir()]:
        if path.stem not in keep:
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def small(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("small")
    prepare(rendered, out, PrepareOptions(DatasetSettings(size=32)))
    return out


def test_clips_that_fit_are_copied_without_loss(rendered: Path, small: Path) -> None:
    for path in (rendered / "videos").iterdir():
        assert (small / "clips" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("part", ["clips", "features", "keypoints"])
def test_a_file_that_was_lost_is_made_again(
    rendered: Path, small: Path, tmp_path: Path, part: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(small, out)
    lost = sorted((out / part).iterdir())[1]
    content = lost.read_bytes()
    lost.unlink()
    report = prepare(rendered, out, PrepareOptions(DatasetSettings(size=32)))
    assert report.taken_over == report.prepared - 1
    assert lost.read_bytes() == content


def test_true_beats_are_kept_and_the_tracker_finds_them(small: Path) -> None:
    index = read_index(small)
    near: list[bool] = []
    for beats, truth in zip(index.beats(), index.beats("beats_truth"), strict=True):
        assert beats is not None
        assert truth is not None
        assert len(truth) >= 2
        near += (np.abs(beats[:, None] - truth[None, :]).min(axis=0) < 0.07).tolist()
    assert np.mean(near) >= 0.7  # of two seconds of music; whole pieces do better
    batch = AISTDataModule(small, RULE, beats="truth").dataset("train")[0]
    truth = index.beats("beats_truth")[index.names.index(batch.clip_ids[0].split("@")[0])]
    assert truth is not None
    known = batch.beats[0][~batch.beats[0].isnan()]
    np.testing.assert_allclose(known, truth[truth < 1.0], atol=1e-3)


def test_joints_sit_on_the_dancer_mirrored_or_not(rendered: Path, small: Path) -> None:
    data = AISTDataModule(small, RULE, content=ClipContent(keypoints=True))
    dataset = data.dataset("train")
    batch = dataset.__getitems__(range(2))
    assert batch.keypoints is not None
    assert batch.frames is not None
    name = batch.clip_ids[0].split("@")[0]
    with np.load(rendered / "truth" / f"{name}.npz") as truth:
        pixels = truth["keypoints"][:10]
    np.testing.assert_allclose(batch.keypoints[0, ..., :2], pixels[..., :2] * 2 / 31 - 1, atol=1e-5)
    np.testing.assert_allclose(batch.keypoints[0, ..., 2], pixels[..., 2], atol=1e-6)
    # The pixel under a joint is the pixel under its mirror image.
    plain, mirrored = batch.keypoints[0, 4, 0], batch.keypoints[1, 4, 0]
    for points, frame in ((plain, batch.frames[0, 4]), (mirrored, batch.frames[1, 4])):
        x, y = ((points[:2] + 1) * 15.5).round().long().clamp(0, 31)
        assert frame[:, y, x].shape == (3,)
    assert plain[0] == -mirrored[0]


def test_joints_follow_another_size_and_shape(tmp_path: Path) -> None:
    from datamodules.synthetic.dataset import load_truth

    render_dataset(
        tmp_path / "in", seed=1, train_videos=1, seconds=1.0, size=36, width=64, fps=20.0, workers=1
    )
    keep = next(p.stem for p in (tmp_path / "in" / "videos").iterdir() if "_d9" not in p.name)
    for path in [*(tmp_path / "in" / "videos").iterdir(), *(tmp_path / "in" / "truth").iterdir()]:
        if path.stem != keep:
            path.unlink()
    prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(DatasetSettings(size=32)))
    truth = load_truth(tmp_path / "in" / "truth" / f"{keep}.npz")
    with np.load(tmp_path / "out" / "keypoints" / f"{keep}.npz") as stored:
        found = stored["keypoints"]
    wanted = truth.keypoints[::2, :, :2]
    np.testing.assert_allclose(found[..., 0], (wanted[..., 0] + 0.5) / 2 - 0.5, atol=1e-3)
    np.testing.assert_allclose(found[..., 1], (wanted[..., 1] + 0.5) / 2 - 0.5 + 7, atol=1e-3)
    frames = read_frames(tmp_path / "out" / "clips" / f"{keep}.mp4").float()
    dance = render_clip(truth.spec).frames[::2].float()
    small = dance.unflatten(-1, (32, 2)).mean(-1).unflatten(-2, (18, 2)).mean(-2)
    assert frames[:, :, 7:25].sub(small).abs().mean() < 6.0
    assert frames[:, :, :6].mean() < 4.0


def test_spec_and_name_agree() -> None:
    spec = DanceSpec.from_dict(
        {"name": "gBR_sBM_c01_d04_mBR1_ch03", "seed": 0, "size": 32, "fps": 10.0, "seconds": 1.0}
    )
    assert render_clip(spec).frames.shape == (10, 3, 32, 32)
