"""`dabfusion evaluate --paired`: PSNR and SSIM against the true videos of the same names."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from datamodules.media.video import read_frames, write_video
from datamodules.synthetic.dataset import DanceSpec, render_clip
from experiments.cli import main
from experiments.errors import SettingsError
from experiments.evaluation.evaluations import read_evaluation, score_table
from experiments.evaluation.folder import FolderOptions, videos_in
from experiments.evaluation.reference import MAX_PSNR, find_partners, paired_scores
from metrics import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

NAMES = ("gBR_sBM_c01_d01_mBR0_ch01", "gPO_sBM_c01_d02_mPO1_ch02")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Generated and true videos: the first pair is one file, of the second one is shifted."""
    root = tmp_path_factory.mktemp("pairs")
    made, true = root / "made", root / "true"
    for seed, name in enumerate(NAMES):
        clip = render_clip(DanceSpec(name=name, seed=seed, size=64))
        for place, shift in ((true, 0), (made, 2 * seed)):
            frames = clip.frames.roll(shift, dims=-1)
            write_video(place / f"{name}.mp4", frames, 10, clip.audio, clip.sample_rate)
        for place in (made, true):
            (place / "beats").mkdir(exist_ok=True)
            np.savetxt(place / "beats" / f"{name}.txt", clip.beats_s[clip.beats_s >= 0])
    write_video(true / "more.mp4", clip.frames, 10)
    return made, true


def evaluate(made: Path, true: Path, out: Path, *more: str) -> int:
    return main(["evaluate", str(made), "--reference", str(true), "--out", str(out),
                 "--beats", str(made / "beats"), *more])  # fmt: skip


@pytest.fixture(scope="module")
def paired(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation")
    assert evaluate(*folders, out, "--paired") == 0
    return out


def test_scores_are_those_of_torchmetrics_on_the_decoded_frames(
    folders: tuple[Path, Path], paired: Path
) -> None:
    rows = pd.read_csv(paired / "clips.csv").set_index("clip")
    assert sorted(rows.index) == sorted(NAMES)
    one, other = (read_frames(place / f"{NAMES[1]}.mp4").double() for place in folders)
    assert one.shape[0] > 32, "more frames than are compared at a time"
    for column, metric in (
        ("psnr", PeakSignalNoiseRatio(data_range=255.0)),
        ("ssim", StructuralSimilarityIndexMeasure(data_range=255.0)),
    ):
        assert rows.loc[NAMES[1], column] == pytest.approx(float(metric(one, other)), abs=1e-4)
    assert rows.loc[NAMES[0], "psnr"] == MAX_PSNR
    assert rows.loc[NAMES[0], "ssim"] == pytest.approx(1, abs=1e-6)
    assert rows.loc[NAMES[1], "psnr"] < 40
    assert rows.loc[NAMES[1], "ssim"] < 0.95
    means = read_evaluation(paired).means
    for column in ("psnr", "ssim"):
        assert means[column].mean == pytest.approx(rows[column].mean(), abs=1e-5)
        assert means[column].low <= means[column].mean <= means[column].high
    header, _ = score_table([paired])
    assert header[-5:] == ["psnr", "ssim", "frechet", "kernel", "protocol"]


def test_only_paired_scores_change_the_protocol(
    folders: tuple[Path, Path], paired: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    assert evaluate(*folders, plain) == 0
    evaluation = read_evaluation(plain)
    without, asked = evaluation.protocol, read_evaluation(paired).protocol
    assert "paired" not in without
    assert "psnr" not in evaluation.means
    assert {key for key in asked if asked[key] != without.get(key)} == {"paired", "hash"}
    columns = [list(pd.read_csv(place / "clips.csv")) for place in (plain, paired)]
    assert set(columns[1]) - set(columns[0]) == {"psnr", "ssim"}
    with pytest.raises(SettingsError, match="paired"):
        score_table([plain, paired])


def test_known_values() -> None:
    frames = torch.full((3, 3, 16, 16), 100, dtype=torch.uint8)
    assert paired_scores(frames, frames) == {"psnr": 60.0, "ssim": pytest.approx(1)}
    found = paired_scores(frames + 10, frames)
    assert found["psnr"] == pytest.approx(10 * math.log10(255**2 / 10**2), abs=1e-4)
    # Flat pictures have neither variance nor covariance: luminance alone is left of SSIM.
    steady = (0.01 * 255) ** 2
    expected = (2 * 110 * 100 + steady) / (110**2 + 100**2 + steady)
    assert found["ssim"] == pytest.approx(expected, abs=1e-6)


def score_own_video(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    frames = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
    found = paired_scores(frames + 10 * rank, frames)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def test_processes_keep_their_videos_apart(tmp_path: Path) -> None:
    mp.spawn(score_own_video, args=(str(tmp_path),), nprocs=2)
    same, brighter = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert same["psnr"] == MAX_PSNR
    assert same["ssim"] == pytest.approx(1)
    assert brighter["psnr"] == pytest.approx(10 * math.log10(255**2 / 10**2), abs=1e-4)


def video(path: Path, frames: Tensor, fps: float = 10) -> None:
    path.parent.mkdir(exist_ok=True)
    write_video(path, frames, fps)


def test_pairs_that_differ_are_refused_by_name(tmp_path: Path) -> None:
    frames = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    made, true = tmp_path / "made", tmp_path / "true"
    for name in ("alike", "narrow", "short", "slow"):
        video(true / f"{name}.mp4", frames)
    video(made / "alike.mp4", frames)
    options = FolderOptions()
    assert find_partners(videos_in(made), videos_in(true), options).videos == {
        "alike": true / "alike.mp4"
    }
    video(made / "narrow.mp4", frames[..., :24])
    video(made / "short.mp4", frames[:6])
    video(made / "slow.mp4", frames, 5)
    with pytest.raises(SettingsError) as refusal:
        find_partners(videos_in(made), videos_in(true), options)
    said = str(refusal.value)
    assert "3 of 4 videos" in said
    assert "narrow: 24x32 pixels against 32x32;" in said
    assert "short: 6 frames against 8;" in said
    assert "slow: 5 frames a second against 10)" in said
    assert "alike:" not in said
    (made / "narrow.mp4").unlink()
    with pytest.raises(SettingsError, match=r"\(short: 4 frames .*; slow: 12 frames against 6\)"):
        find_partners(
            videos_in(made), videos_in(true), FolderOptions(fps=7.5)
        )  # rates are alike as read
    (made / "slow.mp4").unlink()
    assert set(
        find_partners(videos_in(made), videos_in(true), FolderOptions(seconds=0.6)).videos
    ) == {"alike", "short"}


def test_a_video_without_a_partner_is_refused(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, true = folders
    assert evaluate(true, made, tmp_path / "out", "--paired") == 2
    said = capsys.readouterr().err
    assert "1 of 3 videos" in said
    assert "(more)" in said
    assert not (tmp_path / "out").exists()
    assert main(["evaluate", str(made), "--paired"]) == 2
    assert "--reference" in capsys.readouterr().err


def test_a_damaged_true_video_costs_only_its_pair(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    made, true = folders
    partly = tmp_path / "partly"
    partly.mkdir()
    for path in true.glob("*.mp4"):
        content = path.read_bytes()
        (partly / path.name).write_bytes(content if path.stem != NAMES[1] else b"no video")
    assert evaluate(made, partly, tmp_path / "out", "--paired") == 0
    (failure,) = read_evaluation(tmp_path / "out").failures
    assert failure["name"] == NAMES[1]
    assert "its true video cannot be read" in failure["reason"]
    assert list(pd.read_csv(tmp_path / "out" / "clips.csv")["clip"]) == [NAMES[0]]
