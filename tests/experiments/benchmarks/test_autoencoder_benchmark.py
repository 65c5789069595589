"""The benchmark of stage 1 runs, and its numbers are consistent."""

import argparse

import pytest

from experiments.benchmarks import autoencoder


@pytest.mark.long
def test_flow_and_decoding_are_timed_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    autoencoder.add_arguments(parser)
    words = ["--preset", "quickstart", "--frames", "3", "--size", "32", "--repeats", "1"]
    numbers = autoencoder.run(parser.parse_args(words))
    assert [row["part"] for row in numbers["rows"]] == ["flow", "decoding"]
    for row in numbers["rows"]:
        assert row["speedup"] == pytest.approx(row["one_by_one_s"] / row["at_once_s"])
        for kind in ("matrix", "convolution"):
            share = row["gflop"] / row["at_once_s"] / numbers[f"{kind}_gflops"]
            assert row[f"share_of_{kind}_rate"] == pytest.approx(share)
    assert "share of convolution rate" in capsys.readouterr().out
