"""The flow study: its errors by hand, the truth scored as perfect, and a whole tiny run."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_autoencoder

from datamodules.media.video import write_video
from datamodules.synthetic.dataset import DanceSpec, render_clip
from experiments.cli import main
from experiments.config.load import load_settings
from experiments.errors import SettingsError
from experiments.runs.folder import RunFolder
from experiments.studies.flow.measure import (
    METHODS,
    flow_errors,
    flow_to_first,
    frame_scores,
    hidden_overlap,
    pixel_flow,
)
from experiments.studies.flow.report import CONTRASTS, changes, groups, read_run, summaries
from lightning_modules.checkpoints import save_autoencoder
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.warp import coordinate_grid


def tiny(align_corners: bool) -> LatentFlowAutoencoder:
    torch.manual_seed(0)
    return tiny_autoencoder(
        regions=3, region_blocks=2, flow_blocks=2, background="zero", align_corners=align_corners
    ).eval()


def test_flow_errors_by_hand() -> None:
    true = torch.zeros(2, 4, 4, 2)
    true[0, 0, 0] = torch.tensor([3.0, 0.0])
    found = torch.zeros(2, 4, 4, 2)
    found[0, 0, 0] = torch.tensor([0.0, 4.0])
    errors = flow_errors(found, true)
    assert errors["epe"] == pytest.approx(5.0)
    assert errors["epe_zero"] == pytest.approx(3.0)
    assert errors["epe_all"] == pytest.approx(5.0 / 32)
    assert errors["angle"] == pytest.approx(90.0, abs=1e-3)
    assert errors["change"] == pytest.approx(5.0)
    assert errors["change_zero"] == pytest.approx(3.0)
    assert math.isnan(flow_errors(found * 0, true * 0)["epe"])


def test_overlap_by_hand() -> None:
    occlusion, visible = torch.ones(1, 2, 2), torch.ones(1, 2, 2)
    assert math.isnan(hidden_overlap(occlusion, visible))
    occlusion[0, 0] = 0.2
    visible[0, :, 0] = 0.0
    assert hidden_overlap(occlusion, visible) == pytest.approx(1 / 3)


@pytest.mark.parametrize("aligned", [False, True])
def test_latent_flow_in_pixels_follows_the_networks_sampling(aligned: bool) -> None:
    identity = coordinate_grid(8, 8, torch.zeros(1)).movedim(-1, 0)
    latent = torch.cat([identity, torch.ones(1, 8, 8)])[None]
    flow = pixel_flow(tiny(aligned), latent, 32)
    if aligned:
        assert flow.abs().max() < 1e-5
    else:  # the published mismatch spreads the identity by 8 / 7 about the centre
        middle = torch.arange(2.0, 30.0) - 15.5
        torch.testing.assert_close(flow[0, 16, 2:30, 0], middle / 7, atol=1e-4, rtol=0)


def test_the_true_flow_of_a_rendered_clip_scores_as_the_truth() -> None:
    clip = render_clip(DanceSpec(seconds=0.8, size=64))
    grid, visible = clip.true_flow(0, list(range(8)), 64)
    video = clip.frames.float() / 255
    own = coordinate_grid(64, 64, grid)
    true = (grid - own) * 63 / 2
    assert flow_errors(true, true)["epe"] == 0
    assert hidden_overlap(visible[:, 0], visible[:, 0]) == 1
    warped = torch.nn.functional.grid_sample(
        video[:1].expand(8, -1, -1, -1), grid, align_corners=True
    )
    # Flow cannot show what is hidden in the reference: a decoder has to generate it.
    painted = torch.where(visible.bool(), warped, video)
    scores = frame_scores(video[:1], video, painted, warped)
    assert scores["l1_ratio"] < 0.35
    assert scores["l1_ratio"] < scores["l1_ratio_deformed"] < 0.8
    assert scores["ssim"] > scores["ssim_copy"]


def test_optical_flow_of_each_frame_is_its_own() -> None:
    video = render_clip(DanceSpec(seconds=0.6, size=64)).frames.float() / 255
    for method in METHODS:
        flow = flow_to_first(video, method)
        assert flow.shape == (6, 64, 64, 2)
        torch.testing.assert_close(flow[3:4], flow_to_first(video[[0, 3]], method)[1:])
        assert flow[0].norm(dim=-1).mean() < 0.3 * flow[3].norm(dim=-1).mean()


def test_groups_share_the_clips() -> None:
    contrasts = (9, 12, 8, 11, 10, 7, 13)
    rows = [
        {"music": f"m{i % 3}", "genre": "BR", "speed": float(i), "psnr_copy": float(contrast)}
        for i, contrast in enumerate(contrasts)
    ]
    found = groups(rows)
    assert [len(found[name]) for name in ("slow", "medium", "fast", "BR")] == [3, 2, 2, 7]
    assert found["fast"][-1]["speed"] == 6.0
    # Contrast: how far copying the reference is from the truth.
    scores = [[row["psnr_copy"] for row in found[name]] for name in CONTRASTS]
    assert scores == [[7, 8, 9], [10, 11], [12, 13]]
    assert summaries(rows)["speed"].mean == pytest.approx(3.0)
    assert summaries(rows[:1] * 2)["speed"].clusters == 2


def run_folder(path: Path, gains: list[float], **loss: float) -> Path:
    """A run of `train autoencoder` as the study reads it: settings, validations, an export."""
    folder = RunFolder(path)
    settings = load_settings(None, [f"stage1.loss.{name}={value}" for name, value in loss.items()])
    settings.stage1.train.steps = 10 * len(gains)
    folder.write_settings(settings)
    scores = {"val/l1_ratio": 0.5, "val/l1_ratio_deformed": 0.6}
    lines = [{"step": 10 * i + 9, "val/psnr_gain": gain, **scores} for i, gain in enumerate(gains)]
    # Not in order of time: a run that is resumed appends.
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    save_autoencoder(tiny(True), folder.export)
    return path


def test_runs_are_told_apart_by_what_was_changed(tmp_path: Path) -> None:
    first = read_run(run_folder(tmp_path / "first", [1.0, 2.5]))
    other = read_run(run_folder(tmp_path / "other", [1.0, 2.0], raw=0.0, joints=1.0))
    assert first["curve"] == [(10, 1.0), (20, 2.5)]
    assert (first["title"], other["title"]) == ("20 steps, no labels", "20 steps, joints")
    assert changes(first["settings"], first["settings"]) == "nothing"
    changed = changes(other["settings"], first["settings"])
    assert changed == "stage1.loss.raw=0.0 stage1.loss.joints=1.0"
    assert first["val"] == {"psnr_gain": 2.5, "l1_ratio": 0.5, "l1_ratio_deformed": 0.6}
    (tmp_path / "other" / "metrics.jsonl").write_text("")
    with pytest.raises(SettingsError, match="no validation"):
        read_run(tmp_path / "other")


def test_a_tiny_study_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = run_folder(tmp_path / "run", [1.0, 2.0])
    other = str(run_folder(tmp_path / "other", [0.5], raw=0.0))
    clip = render_clip(DanceSpec(seconds=0.6, size=32))
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        write_video(tmp_path / "videos" / f"{name}.mp4", clip.frames, 10.0)
    words = ["study", "flow", str(export), "--clips", "3", "--frames", "6", "--size", "32"]
    words += ["--videos", str(tmp_path / "videos"), "--out", str(tmp_path / "study")]
    words += ["--beside", other, "--curves", other, "--losses", str(export), other]
    assert main(words) == 0
    assert "end-point error" in capsys.readouterr().out
    report = (tmp_path / "study" / "report.md").read_text()
    assert "## Real clips" in report
    assert "nan" not in report.split("## By speed")[0]
    results = json.loads((tmp_path / "study" / "results.json").read_text())
    assert len(results["clips"]) == 5
    assert results["rendered"]["epe_zero"]["mean"] > 0
    assert set(results["beside"]) == {"20 steps, no labels", "10 steps, no labels"}
    assert "| nothing | 0.500 | 0.600 | 2.000 |" in report
    assert "| stage1.loss.raw=0.0 stage1.train.steps=10 |" in report
    drawn = re.findall(r"\]\((\w+\.png)\)", report)
    assert len(drawn) == 4
    for name in drawn:
        assert (tmp_path / "study" / name).stat().st_size > 5000, name
    assert main(["study", "flow", str(tmp_path / "nothing")]) == 2
