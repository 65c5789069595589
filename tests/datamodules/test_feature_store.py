"""Cached features: never stale, never half, written by many at once."""

import errno
import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from datamodules.cache import FeatureStore
from datamodules.errors import DataError

SETTINGS = {"autoencoder": "abc", "data": "def", "fps": 10.0, "frames": 40}
ITEM = "gBR_sBM_c01_d04_mBR0_ch01@40"


def test_half_precision_comes_back_as_it_went(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, "latent_flow", SETTINGS)
    tensors = {"latent_flow": torch.randn(4, 3, 8, 8).half(), "other": torch.arange(3)}
    assert not store.has(ITEM)
    store.put(ITEM, tensors)
    assert store.has(ITEM)
    found = store.get(ITEM)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize(
    "change", [{"autoencoder": "abd"}, {"fps": 20.0}, {"data": "x"}, {"extra": None}]
)
def test_a_changed_checkpoint_or_setting_cannot_read_a_stale_entry(
    tmp_path: Path, change: dict[str, object]
) -> None:
    store = FeatureStore(tmp_path, "latent_flow", SETTINGS)
    store.put(ITEM, {"latent_flow": torch.zeros(2)})
    other = FeatureStore(tmp_path, "latent_flow", {**SETTINGS, **change})
    assert other.key != store.key
    assert not other.has(ITEM)
    with pytest.raises(DataError, match="dabfusion cache"):
        other.get(ITEM)
    assert not FeatureStore(tmp_path, "clap", SETTINGS).has(ITEM)
    again = FeatureStore(tmp_path, "latent_flow", dict(reversed(SETTINGS.items())))
    assert again.has(ITEM)


def test_items_of_one_video_do_not_collide(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, "latent_flow", SETTINGS)
    ids = [ITEM, ITEM + "m", ITEM + "x1.5m", "other@40", "song"]
    for number, item in enumerate(ids):
        store.put(item, {"n": torch.tensor(number)})
    assert [int(store.get(item)["n"]) for item in ids] == list(range(5))
    for wrong in ("a/b@1", "../a@1", ".hidden"):
        with pytest.raises(ValueError, match="cannot name"):
            store.path(wrong)


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, "latent_flow", SETTINGS)
    store.put(ITEM, {"latent_flow": torch.zeros(20)})
    path = store.path(ITEM)
    content = path.read_bytes()
    for damaged in (b"", content[:9], content[:-5], b"\xff" * len(content)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            store.get(ITEM)


def _put(root: Path, value: int) -> None:
    store = FeatureStore(root, "latent_flow", SETTINGS)
    for number in range(40):
        store.put(f"v@{number % 5}", {"latent_flow": torch.full((5000,), value)})


def test_processes_that_write_the_same_items_leave_whole_ones(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_put, args=(tmp_path, value)) for value in (1, 2, 3)]
    for writer in writers:
        writer.start()
    store = FeatureStore(tmp_path, "latent_flow", SETTINGS)
    read = 0
    while any(writer.is_alive() for writer in writers):
        if store.has("v@3"):
            assert len(store.get("v@3")["latent_flow"].unique()) == 1
            read += 1
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert read > 0
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_read_only_folder_is_a_sentence_that_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"cannot be written to .* clips\.cache=FOLDER"):
        FeatureStore(tmp_path / "data" / "cache", "clap", {}).put("a@0", {"x": torch.zeros(1)})
