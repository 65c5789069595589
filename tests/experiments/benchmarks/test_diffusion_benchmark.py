"""The benchmark's published procedure is the same function as ours, and every part of it runs."""

import argparse

import pytest
import torch
from torch import nn

from experiments.benchmarks import diffusion
from experiments.benchmarks.diffusion import Stage2Bench
from experiments.benchmarks.harness import count_gflop

SMALL = ("stage2.network.patch=1", "clips.frames=4", "music.beats=frame")


def awake(bench: Stage2Bench) -> Stage2Bench:
    """The output layer starts at zero; give it the same weights in every bench."""
    torch.manual_seed(1)
    for parameter in bench.module.denoiser.out.parameters():
        nn.init.normal_(parameter)
    return bench


def test_concatenating_z0_changes_the_cost_and_not_the_function() -> None:
    published, ours = (
        awake(Stage2Bench("quickstart", concatenated, "cpu", False, SMALL))
        for concatenated in (True, False)
    )
    torch.testing.assert_close(published.denoise(), ours.denoise(), rtol=1e-3, atol=1e-4)
    assert count_gflop(published.denoise) > 1.05 * count_gflop(ours.denoise)
    for bench in (published, ours):
        before = bench.module.denoiser.middle_out.conv1.weight.clone()
        for _ in range(2):  # branches that start at zero learn from the second step on
            bench.training_step()
        bench.decode()
        assert not torch.equal(before, bench.module.denoiser.middle_out.conv1.weight)
        assert bench.sample(1, 2.0).shape == (1, 4, 3, 16, 16)


@pytest.mark.long
def test_all_three_procedures_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["clips.frames=3", "clips.size=64", "stage2.network.width=16"]
    words += ["stage1.network.region_cap=64", "stage1.network.background_cap=64"]
    parts = ("region", "background", "flow")
    words += [f"stage1.network.{part}_blocks=2" for part in parts]  # 64 pixels are halved less
    parser = argparse.ArgumentParser()
    diffusion.add_arguments(parser)
    words += ["--repeats", "1", "--steps", "1", "--threads", "1"]
    rows = diffusion.run(parser.parse_args(words))["rows"]
    published, faithful, efficient = rows
    assert published["forward_gflop"] > faithful["forward_gflop"] > efficient["forward_gflop"]
    assert published["sampling_steps"] == diffusion.PUBLISHED_SAMPLING_STEPS
    assert faithful["sampling_steps"] == efficient["sampling_steps"] == 15
    for row in rows:
        assert row["video_s"] > row["decode_s"] > 0
        assert row["peak_memory_bytes"] > 1e8
    assert "efficient" in capsys.readouterr().out
