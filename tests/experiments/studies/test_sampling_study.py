"""The study of sampling: features that tell motions apart, and every curve from a real model."""

import json
from pathlib import Path

import pytest
import torch
from tiny_runs import run_cli

from experiments.studies.sampling.points import CELLS, flow_features
from lightning_modules.normalization import identity_grid
from metrics.functional.distances import frechet_distance


def still(frames: int = 6, side: int = 16) -> torch.Tensor:
    grid = torch.cat((identity_grid(side, side), torch.ones(1, side, side)))
    return grid.expand(1, frames, 3, side, side).clone()


def test_features_say_in_pixels_which_part_moves_and_how_much() -> None:
    flow = still()
    assert flow_features(flow, 65).abs().max() < 1e-5
    flow[:, ::2, 0, :4, :4] += 0.25  # a quarter of 64 pixels' half side, in every other frame
    features = flow_features(flow, 65)[0]
    assert features.shape == (4 * CELLS**2,)
    assert features[0] == pytest.approx(4.0, rel=1e-4)
    spread = features[2 * CELLS**2]
    assert spread == pytest.approx(float(torch.tensor([8.0, 0.0] * 3).std()), rel=1e-4)
    others = features[[i for i in range(len(features)) if i not in (0, 2 * CELLS**2)]]
    assert others.abs().max() < 1e-5


def test_the_distance_of_features_grows_with_the_error() -> None:
    torch.manual_seed(0)
    true = torch.cat([still() + 0.1 * torch.randn(1, 6, 3, 1, 1) for _ in range(12)])
    distances = [
        float(frechet_distance(flow_features(true * (1 + error), 64), flow_features(true, 64)))
        for error in (0.0, 0.1, 0.4)
    ]
    assert distances[0] < 1e-3 < distances[1] < distances[2]


@pytest.mark.long
def test_the_study_draws_its_curves(data: Path, diffusion: Path, tmp_path: Path) -> None:
    words = ["study", "sampling", str(diffusion), "clips.size=32", "clips.frames=4", f"data={data}"]
    options = ["--solvers", "ddim", "dpm++", "--steps", "1", "2", "--scales", "0", "2"]
    done = run_cli(*words, *options, "--clips", "2", "--out", str(tmp_path), timeout=600)
    assert done.returncode == 0, done.stderr
    points = json.loads((tmp_path / "points.json").read_text())
    assert points[0]["choice"] is None
    assert points[0]["frechet"] < 1e-6
    assert len(points) == 1 + 4 + 2
    assert len({(p["choice"]["solver"], p["choice"]["steps"]) for p in points[1:]}) == 4
    table = (tmp_path / "README.md").read_text()
    assert "DDIM" in table
    assert "true flow" in table
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("steps.png", "guidance.png"))
