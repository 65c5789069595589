"""Sample videos, without networks and without encoding."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from lightning_modules.callbacks.samples import Drawn, SampleVideos


def test_music_beats_are_kept_also_where_no_dance_is_generated(tmp_path: Path) -> None:
    batch: Any = SimpleNamespace(
        clip_ids=["clip"],
        waveform=None,
        sample_rate=None,
        fps=10.0,
        beats=torch.tensor([[-0.2, 0.1, 0.35, 2.5, torch.nan]]),
        beat_features=torch.zeros(1, 20, 7),
    )
    batch.to = lambda device: batch
    drawn = Drawn(torch.zeros(1, 20, 3, 4, 4, dtype=torch.uint8), {})
    callback = SampleVideos(tmp_path, 0, lambda: batch, lambda _: drawn, lambda *video: None)
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=5, max_steps=5, loggers=[])
    module: Any = SimpleNamespace(device="cpu")
    callback.on_validation_epoch_end(trainer, module)
    beats = json.loads((tmp_path / "0000005-clip.json").read_text())
    assert beats == {"music_beats_s": [0.1, 0.35], "motion_beats_s": []}
