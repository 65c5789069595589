"""Order, sharing and resuming: no clip twice, none left out, whatever happens."""

from pathlib import Path

import pytest
from dance_folder import TEST, VAL

from datamodules.aist import AISTDataModule, LoaderOptions, WindowRule
from datamodules.errors import DataError
from datamodules.sampler import ClipLoader, EvaluationBatches, TrainBatches

RULE = WindowRule(frames=8, stride=4, fps=10.0)


def epoch(batches: TrainBatches) -> list[list[int]]:
    return [[clip for _, clip in batch] for batch in batches]


def flat(lists: list[list[int]]) -> list[int]:
    return [clip for clips in lists for clip in clips]


def test_an_epoch_is_a_permutation_that_the_seed_decides() -> None:
    order = flat(epoch(TrainBatches(24, 4, seed=5)))
    assert sorted(order) == list(range(24))
    assert order != list(range(24))
    assert order == flat(epoch(TrainBatches(24, 4, seed=5)))
    assert order != flat(epoch(TrainBatches(24, 4, seed=6)))
    later = TrainBatches(24, 4, seed=5)
    later.epoch = 1
    assert order != flat(epoch(later))


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_a_step_sees_the_same_clips_at_any_number_of_ranks(world_size: int) -> None:
    alone = epoch(TrainBatches(50, 12, seed=1))
    ranks = [epoch(TrainBatches(50, 12 // world_size, 1, r, world_size)) for r in range(world_size)]
    for step, clips in enumerate(alone):
        assert sorted(clips) == sorted(flat([rank[step] for rank in ranks]))


def test_fewer_clips_than_a_batch_are_repeated() -> None:
    (only,) = epoch(TrainBatches(3, 8, seed=0))
    assert len(only) == 8
    assert set(only) == {0, 1, 2}
    with pytest.raises(DataError, match="no clips to train on"):
        TrainBatches(0, 8, seed=0)


@pytest.mark.parametrize(("clips", "world_size"), [(10, 1), (10, 3), (11, 4), (4, 4), (0, 2)])
def test_evaluation_neither_repeats_nor_drops(clips: int, world_size: int) -> None:
    shares = [EvaluationBatches(clips, 3, rank, world_size) for rank in range(world_size)]
    seen = [clip for share in shares for batch in share for _, clip in batch]
    assert sorted(seen) == list(range(clips))
    assert [len(list(share)) for share in shares] == [len(share) for share in shares]


def test_more_processes_than_clips_is_one_sentence() -> None:
    with pytest.raises(DataError, match="2 clips cannot be shared among 3"):
        EvaluationBatches(2, 3, 0, 3)


def train_loader(prepared: Path, workers: int) -> ClipLoader:
    options = LoaderOptions(batch_size=3, workers=workers)
    return AISTDataModule(prepared, RULE, loading=options, seed=2).train_dataloader()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 5])
def test_a_stopped_epoch_goes_on_with_the_next_clip(
    prepared: Path, workers: int, stop: int
) -> None:
    whole = [batch.clip_ids for batch in train_loader(prepared, 0)]
    assert len(whole) > 6
    first = train_loader(prepared, workers)
    seen = []
    for batch in first:
        seen.append(batch.clip_ids)
        if len(seen) == stop:
            break
    state = first.state_dict()  # workers have prepared more than was handed out
    second = train_loader(prepared, workers)
    second.load_state_dict(state)
    seen += [batch.clip_ids for batch in second]
    assert seen == whole


def test_the_next_epoch_follows_a_finished_one(prepared: Path) -> None:
    one = train_loader(prepared, 0)
    epochs = [[batch.clip_ids for batch in one] for _ in range(2)]
    assert epochs[0] != epochs[1]
    other = train_loader(prepared, 0)
    last = None
    for _ in other:
        last = other.state_dict()
    assert last is not None
    resumed = train_loader(prepared, 0)
    resumed.load_state_dict(last)
    assert [batch.clip_ids for batch in resumed] == epochs[1]


def test_another_global_batch_goes_on_behind_the_same_clips() -> None:
    batches = TrainBatches(48, 4, seed=0)
    loader: ClipLoader = ClipLoader([], batches)  # type: ignore[arg-type]
    batches.epoch, batches.done = 3, 6
    other = TrainBatches(48, 2, 0, rank=1, world_size=4)
    resumed: ClipLoader = ClipLoader([], other)  # type: ignore[arg-type]
    resumed.load_state_dict(loader.state_dict())
    assert (other.epoch, other.done) == (3, 3)
    changed: ClipLoader = ClipLoader([], TrainBatches(47, 4, seed=0))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="48 training clips"):
        changed.load_state_dict(loader.state_dict())


def test_lightning_resumes_in_the_middle_of_an_epoch(prepared: Path, tmp_path: Path) -> None:
    """A real Trainer, stopped and resumed from its checkpoint, sees every clip once."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Watcher(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen: list[list[str]] = []

        def training_step(self, batch: object, _: int) -> torch.Tensor:
            self.seen.append(batch.clip_ids)  # type: ignore[attr-defined]
            return self.weight * 0.0

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    def fit(steps: int, checkpoint: Path | None) -> list[list[str]]:
        watcher = Watcher()
        keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
        trainer = Trainer(
            accelerator="cpu", max_steps=steps, logger=False, callbacks=[keep],
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        options = LoaderOptions(batch_size=3)
        data = AISTDataModule(prepared, RULE, loading=options, seed=2)
        trainer.fit(watcher, datamodule=data, ckpt_path=checkpoint, weights_only=False)
        return watcher.seen

    whole = fit(25, None)
    per_epoch = len(train_loader(prepared, 0))
    assert 6 < per_epoch < 20
    for stop in (4, per_epoch, per_epoch + 3):
        rest = fit(25, tmp_path / f"step={stop}.ckpt")
        assert rest == whole[stop:], stop


def test_validation_and_test_hold_their_own_videos(prepared: Path) -> None:
    data = AISTDataModule(prepared, RULE, loading=LoaderOptions(batch_size=4))
    for loader, names in ((data.val_dataloader(), VAL), (data.test_dataloader(), TEST)):
        ids = [clip for batch in loader for clip in batch.clip_ids]
        assert len(set(ids)) == len(ids)
        assert {clip.split("@")[0] for clip in ids} == set(names)
        assert ids == [clip for batch in loader for clip in batch.clip_ids]
