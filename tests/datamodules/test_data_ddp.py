"""Two real processes share validation and training clips as they should."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from datamodules.aist import AISTDataModule, LoaderOptions, WindowRule

ROOT = Path(__file__).resolve().parents[2]
RULE = WindowRule(frames=8, stride=3, fps=10.0)
RANK = """
import json, sys
from pathlib import Path
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
import torch
from datamodules.aist import AISTDataModule, LoaderOptions, WindowRule

class Watcher(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = {"train": [], "val": []}
    def training_step(self, batch, _):
        self.seen["train"].append(batch.index.tolist())
        return self.layer(torch.zeros(1, 1)).sum()
    def validation_step(self, batch, _):
        self.seen["val"].append(batch.clip_ids)
        self.log("val/count", 1.0, on_epoch=True, sync_dist=True, batch_size=len(batch))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

watcher = Watcher()
trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", max_steps=6, logger=False,
                  val_check_interval=6, check_val_every_n_epoch=None, num_sanity_val_steps=0,
                  enable_progress_bar=False, enable_model_summary=False,
                  enable_checkpointing=False, use_distributed_sampler=False)
data = AISTDataModule(Path(sys.argv[1]), WindowRule(8, 3, 10.0), loading=LoaderOptions(2),
                      evaluation_stride=11, seed=4)
trainer.fit(watcher, datamodule=data)
Path(sys.argv[2], f"{trainer.global_rank}.json").write_text(json.dumps(watcher.seen))
dist.destroy_process_group()
"""


def test_two_ranks_share_every_clip_once(prepared: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(prepared), str(tmp_path)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": "2",
                "LOCAL_RANK": str(rank),
                "NODE_RANK": "0",
            },
        )
        for rank in range(2)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=240)
        assert rank.returncode == 0, errors[-2000:]
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    alone = AISTDataModule(prepared, RULE, loading=LoaderOptions(4), evaluation_stride=11, seed=4)
    clips = alone.dataset("val").clip_ids
    shares = [[clip for batch in rank["val"] for clip in batch] for rank in seen]
    assert len(clips) % 2 == 1  # uneven, so that padding would show
    assert sorted(shares[0] + shares[1]) == sorted(clips)
    assert abs(len(shares[0]) - len(shares[1])) == 1
    steps = [batch.index.tolist() for batch in alone.train_dataloader()][:6]
    for step, together in enumerate(steps):
        assert sorted(seen[0]["train"][step] + seen[1]["train"][step]) == sorted(together)
