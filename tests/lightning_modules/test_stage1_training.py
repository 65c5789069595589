"""Stage 1 learns: on rendered dancers, in both precisions, in one process and in two."""

import math
import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, Dataset, Subset

from datamodules.batch import ClipBatch
from datamodules.synthetic.clip import DanceSpec, render_clip
from experiments.config.stage1 import (
    Stage1LossSettings,
    Stage1Settings,
    Stage1TrainSettings,
)
from experiments.factories.modules import build_autoencoder_module
from experiments.factories.networks import build_autoencoder
from lightning_modules.options.autoencoder import AutoencoderOptions
from lightning_modules.options.optimizer import AutoencoderOptimizer

PAIRS = 4  # clips a step


def settings(steps: int, labels: bool = True, **train: object) -> Stage1Settings:
    return Stage1Settings(
        network=AutoencoderOptions(
            regions=10, region_width=8, region_blocks=2, region_cap=32, region_padding=1,
            affine="regressed", shared_affine_map=False, background="zero", flow_width=8,
            flow_blocks=2, flow_cap=32, correct_sign=False, least_determinant=1e-3, prior=6.0,
            prior_background=2.5, generator_width=16, generator_cap=32, residual_blocks=1,
            align_corners=True, kernel=3, stem="unshuffle", norm="group",
        ),
        loss=Stage1LossSettings(
            joints=5.0 * labels, teacher_flow=2.0 * labels, teacher_occlusion=0.1 * labels,
            equivariance_shift=0.0 if labels else 1.0, equivariance_affine=0.0 if labels else 1.0,
        ),
        train=Stage1TrainSettings(
            steps=steps, batch_size=PAIRS, learning_rate=1e-3, beta1=0.9, schedule="cosine",
            warmup_steps=5, **train
        ),
    )  # fmt: skip


class Pairs(Dataset[int]):
    """Frame pairs of two rendered dancers; item i is always the same pair."""

    def __init__(self, number: int, keypoints: bool = True) -> None:
        self.number, self.keypoints = number, keypoints
        self.clips = [
            render_clip(DanceSpec(name=f"gBR_sBM_c01_d{d:02d}_mBR0_ch03", size=32, seconds=1.6))
            for d in (1, 2)
        ]

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, i: int) -> int:
        return i

    def collate(self, items: list[int]) -> ClipBatch:
        frames, points = [], []
        for i in items:
            clip = self.clips[i % 2]
            pick = torch.tensor([i % 16, (i * 7 + 5) % 16])
            frames.append(clip.frames[pick])
            xy = torch.from_numpy(clip.keypoints)[pick].clone()
            xy[..., :2] = xy[..., :2] / 31 * 2 - 1
            points.append(xy)
        number = len(items)
        return ClipBatch(
            clip_ids=[f"clip@{i}" for i in items],
            music_ids=["mBR0"] * number,
            fps=10.0,
            index=torch.tensor(items),
            beats=torch.zeros(number, 0),
            beat_features=torch.zeros(number, 2, 7),
            frames=torch.stack(frames),
            keypoints=torch.stack(points) if self.keypoints else None,
        )


class Losses(Callback):
    """Collects the loss of every step, averaged over the ranks."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, module: object, *args: object) -> None:
        loss = trainer.callback_metrics["train/loss"]
        self.values.append(float(trainer.strategy.reduce(loss, reduce_op="mean")))


def fit(
    config: Stage1Settings, data: Dataset[int], folder: Path, **trainer: object
) -> tuple[list[float], dict[str, float]]:
    seed_everything(0, verbose=False)
    pairs = data.dataset if isinstance(data, Subset) else data
    assert isinstance(pairs, Pairs)
    module = build_autoencoder_module(config, build_autoencoder(config), seed=0)
    losses = Losses()
    run = Trainer(
        max_steps=config.train.steps,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[losses],
        use_distributed_sampler=False,
        gradient_clip_val=1.0,
        log_every_n_steps=1,
        **{"devices": 1, **trainer},
    )
    batch = PAIRS // int(str(trainer.get("devices", 1)))
    loader = DataLoader(data, batch_size=batch, collate_fn=pairs.collate)
    run.fit(module, loader, DataLoader(Pairs(8), batch_size=8, collate_fn=pairs.collate))
    scores = {name: float(value) for name, value in run.callback_metrics.items()}
    return losses.values, scores


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_thirty_steps_are_finite_and_decrease(tmp_path: Path, precision: str) -> None:
    values, scores = fit(settings(30), Pairs(30 * PAIRS), tmp_path, precision=precision)
    assert len(values) == 30
    assert all(math.isfinite(v) for v in values)
    assert mean(values[-5:]) < 0.8 * mean(values[:5]), values
    assert {"val/l1_ratio", "val/psnr_gain", "train/joints", "train/pixels"} <= scores.keys()


def test_regions_learn_alone_first_and_without_labels_not_at_all(tmp_path: Path) -> None:
    config = settings(4, region_steps=4)
    before = build_autoencoder_module(config, build_autoencoder(config), seed=0)
    seed_everything(0, verbose=False)
    _, scores = fit(config, Pairs(4 * PAIRS), tmp_path)
    assert "train/pixels" not in scores
    assert before.region_steps == 4
    with pytest.raises(ValueError, match="needs keypoints"):
        fit(settings(1), Pairs(PAIRS, keypoints=False), tmp_path)
    values, scores = fit(settings(2, labels=False), Pairs(2 * PAIRS, keypoints=False), tmp_path)
    assert all(math.isfinite(v) for v in values)
    assert {"train/equivariance_shift", "train/equivariance_affine"} <= scores.keys()
    assert "train/joints" not in scores


def test_frozen_networks_keep_their_weights(tmp_path: Path) -> None:
    config = settings(2, freeze=["region_predictor"])
    network = build_autoencoder(config)
    before = [p.clone() for p in network.region_predictor.parameters()]
    module = build_autoencoder_module(config, network, seed=0)
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    optimizer = module.configure_optimizers()["optimizer"]
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not any(id(p) in trained for p in network.region_predictor.parameters())
    assert all(id(p) in trained for p in network.generator.parameters())
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, network.region_predictor.parameters(), strict=True)
    )


def test_schedules_are_the_published_one_and_a_cosine() -> None:
    arguments = {"steps": 100, "learning_rate": 2e-4, "beta1": 0.5, "beta2": 0.999}
    steps = AutoencoderOptimizer(**arguments, weight_decay=0.0, schedule="steps", warmup_steps=10)
    found = [steps.factor(s) for s in (0, 9, 59, 60, 89, 90)]
    assert found == pytest.approx([0.1, 1.0, 1.0, 0.1, 0.1, 0.01])
    cosine = AutoencoderOptimizer(**arguments, weight_decay=0.0, schedule="cosine", warmup_steps=0)
    assert [cosine.factor(s) for s in (0, 50, 100)] == pytest.approx([1.0, 0.51, 0.02])


def test_progressive_sizes_share_the_steps() -> None:
    config = settings(10, sizes=[16, 32])
    module = build_autoencoder_module(config, build_autoencoder(config), seed=0)
    frames = torch.rand(1, 2, 3, 32, 32)
    assert module._resize(frames).shape[-1] == 16
    coarse = module._resize(frames)[0, 0, 0, 0, 0]
    torch.testing.assert_close(coarse, frames[0, 0, 0, :2, :2].mean())


def two_ranks(rank: int, port: int, folder: str, queue: "multiprocessing.Queue[object]") -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
    }
    data = Pairs(10 * PAIRS)
    half = PAIRS // 2
    mine = [i for i in range(len(data)) if i % PAIRS // half == rank]
    values, scores = fit(settings(10), Subset(data, mine), Path(folder), devices=2, strategy="ddp")
    queue.put((rank, values, scores["val/l1_ratio"]))
    dist.destroy_process_group()


@pytest.mark.long
def test_two_ranks_lose_what_one_loses_with_the_same_batches(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    ranks = [
        context.Process(target=two_ranks, args=(rank, port, str(tmp_path), queue))
        for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    answers = [queue.get(timeout=240) for _ in ranks]
    for process in ranks:
        process.join(timeout=60)
    alone, scores = fit(settings(10), Pairs(10 * PAIRS), tmp_path)
    for _, values, ratio in answers:
        assert values == pytest.approx(alone, rel=1e-4)
        assert ratio == pytest.approx(scores["val/l1_ratio"], rel=1e-3)
