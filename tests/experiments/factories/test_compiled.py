"""torch.compile: one graph without breaks, the same numbers, the same names of weights."""

from pathlib import Path

import pytest
import torch
from tiny_models import tiny_autoencoder
from tiny_runs import TINY, make_data, metrics, run_cli, weights

from experiments.config.run import RunSettings
from experiments.errors import SettingsError
from experiments.factories.networks import compile_network
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder


def tiny() -> LatentFlowAutoencoder:
    torch.manual_seed(0)
    return tiny_autoencoder(region_padding=3)


def test_stage_1_is_one_graph_forward_and_backward() -> None:
    generator = torch.Generator().manual_seed(1)
    reference = torch.rand(2, 3, 16, 16, generator=generator)
    driving = torch.rand(2, 2, 3, 16, 16, generator=generator)
    plain, traced = tiny(), tiny()
    # Tracing alone, without a C++ compiler: fullgraph raises at whatever Python would interrupt.
    traced.compile(fullgraph=True, backend="eager")
    outputs = [network(reference, driving) for network in (plain, traced)]
    for output in outputs:
        output.prediction.square().mean().backward()
    torch.testing.assert_close(outputs[0].latent_flow, outputs[1].latent_flow)
    torch.testing.assert_close(outputs[0].prediction, outputs[1].prediction)
    for (name, one), two in zip(plain.named_parameters(), traced.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=name)


def test_only_the_setting_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Linear(2, 2)
    compile_network(network, RunSettings())
    assert network._compiled_call_impl is None
    names = list(network.state_dict())
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SettingsError, match=r"run\.compile"):
        compile_network(network, RunSettings(compile=True, accelerator="cpu"))
    monkeypatch.undo()
    compile_network(network, RunSettings(compile=True, accelerator="cpu"))
    assert network._compiled_call_impl is not None
    assert list(network.state_dict()) == names


@pytest.mark.long
@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_a_compiled_training_is_the_same_training(stage: str, tmp_path: Path) -> None:
    data = make_data(tmp_path)
    words = [
        *TINY,
        f"data={data}",
        f"{'stage1' if stage == 'autoencoder' else 'stage2'}.train.steps=3",
    ]
    if stage == "diffusion":
        stage1 = [*TINY, f"data={data}", "stage1.train.steps=2", f"out={tmp_path / 'stage1'}"]
        assert run_cli("train", "autoencoder", *stage1).returncode == 0
        words.append(f"autoencoder={tmp_path / 'stage1'}")
    losses, names = [], []
    for compiled in ("false", "true"):
        out = tmp_path / compiled
        found = run_cli(
            "train", stage, *words, f"run.compile={compiled}", f"out={out}", timeout=1200
        )
        assert found.returncode == 0, found.stderr
        losses.append([line["train/loss"] for line in metrics(out) if "train/loss" in line])
        names.append(set(weights(out)))
    assert names[0] == names[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
