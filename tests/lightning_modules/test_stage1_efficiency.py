"""What makes training cheaper: a head start, frozen parts, small images first, memory layouts."""

from pathlib import Path

import pytest
import torch
from test_stage1_training import PAIRS, Pairs, fit, settings

from experiments.cli import main
from experiments.config.stage1 import (
    Stage1LossSettings,
    Stage1Settings,
    Stage1TrainSettings,
)
from experiments.errors import SettingsError
from experiments.factories.networks import build_autoencoder, check_norm
from lightning_modules.lfdm_checkpoint import write_lfdm
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.options.autoencoder import AutoencoderOptions


def test_training_starts_from_an_imported_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = LatentFlowAutoencoder(
        regions=2, region_width=4, region_blocks=1, flow_width=4, flow_blocks=1, generator_width=8,
        residual_blocks=1, background_width=4, background_blocks=2,
    )  # fmt: skip
    checkpoint = write_lfdm(published, tmp_path / "lfdm.pth")
    assert main(["import-lfdm", str(checkpoint), str(tmp_path / "imported")]) == 0
    train = Stage1TrainSettings(
        steps=2, batch_size=PAIRS, initial=str(tmp_path / "imported"), freeze=["region_predictor"]
    )
    loss = Stage1LossSettings(equivariance_shift=0.0, equivariance_affine=0.0)
    config = Stage1Settings(AutoencoderOptions(regions=5), loss, train)
    network = build_autoencoder(config)
    assert network.config["regions"] == 2  # the checkpoint's, not the settings'
    assert network.training
    for name, tensor in published.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    learns = {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert learns == {"background_predictor", "flow_predictor", "generator"}


def test_small_pictures_come_first(tmp_path: Path) -> None:
    seen: list[int] = []

    def see(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if module.training and isinstance(module, LatentFlowAutoencoder):
            seen.append(inputs[1].shape[-1])

    with torch.nn.modules.module.register_module_forward_pre_hook(see):
        fit(settings(4, sizes=[16, 32]), Pairs(4 * PAIRS), tmp_path)
    assert seen == [16, 16, 32, 32]


def test_channels_last_learns_the_same(tmp_path: Path) -> None:
    plain, _ = fit(settings(3), Pairs(3 * PAIRS), tmp_path)
    last, _ = fit(settings(3, channels_last=True), Pairs(3 * PAIRS), tmp_path)
    assert last == pytest.approx(plain, rel=1e-4)


def test_batch_norm_of_several_processes_on_the_cpu_is_refused() -> None:
    def check(processes: int, norm: str, **train: bool) -> None:
        config = Stage1Settings(train=Stage1TrainSettings(**train))
        network = LatentFlowAutoencoder(
            regions=2, region_width=4, flow_width=4, generator_width=4, background="zero", norm=norm
        )
        check_norm(network, config, processes)

    check(1, "batch")
    check(2, "group")
    check(2, "batch", sync_batch_norm=False)
    if torch.cuda.is_available():
        check(2, "batch")
    else:
        with pytest.raises(SettingsError, match=r"stage1\.network\.norm=group"):
            check(2, "batch")
