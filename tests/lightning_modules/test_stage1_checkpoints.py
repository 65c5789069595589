"""Exports, their digests, LFDM's format, and the sentences for files that are something else."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.checkpoints import (
    autoencoder_digest,
    load_autoencoder,
    load_vgg19,
    read_metadata,
    save_autoencoder,
)
from lightning_modules.errors import CheckpointError
from lightning_modules.lfdm_checkpoint import read_lfdm, write_lfdm
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.vgg import VGG19Pyramid
from lightning_modules.pickled import _Unpickler

SMALL = {
    "regions": 3,
    "region_width": 4,
    "region_blocks": 2,
    "region_cap": 8,
    "background_width": 4,
    "background_blocks": 3,
    "background_cap": 16,
    "flow_width": 4,
    "flow_blocks": 2,
    "generator_width": 4,
    "generator_cap": 8,
    "residual_blocks": 2,
}


def network(**changes: object) -> LatentFlowAutoencoder:
    torch.manual_seed(0)
    return LatentFlowAutoencoder(**{**SMALL, **changes}).eval()


def same_function(a: LatentFlowAutoencoder, b: LatentFlowAutoencoder) -> bool:
    frames = torch.rand(1, 3, 3, 32, 32)
    with torch.no_grad():
        pair = [m(frames[:, 0], frames[:, 1:]) for m in (a, b)]
    return torch.equal(pair[0].prediction, pair[1].prediction) and torch.equal(
        pair[0].latent_flow, pair[1].latent_flow
    )


def test_export_and_load_give_the_same_frozen_network(tmp_path: Path) -> None:
    model = network(stem="unshuffle", kernel=3, norm="group", align_corners=True)
    save_autoencoder(model, tmp_path / "run" / "export", {"steps": 7})
    loaded = load_autoencoder(tmp_path / "run")
    assert same_function(model, loaded)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    digest = autoencoder_digest(model)
    assert autoencoder_digest(loaded) == digest
    assert read_metadata(tmp_path / "run") == {"steps": 7, "digest": digest}
    assert not list(tmp_path.rglob("*.part"))


def test_an_export_that_lacks_a_later_setting_still_loads(tmp_path: Path) -> None:
    model = network()
    older = {name: value for name, value in model.config.items() if name != "fill_hidden"}
    model.config = older
    export = save_autoencoder(model, tmp_path / "export")
    assert "fill_hidden" not in json.loads((export / "config.json").read_text())["architecture"]
    assert load_autoencoder(export).config["fill_hidden"] is False


def test_digest_changes_with_weights_and_with_architecture() -> None:
    model = network()
    before = autoencoder_digest(model)
    with torch.no_grad():
        model.generator.final.bias[0] += 1e-6
    assert autoencoder_digest(model) != before
    assert autoencoder_digest(network(skips=False)) != before


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"background": "zero"},
        {"background": "shift"},
        {"background": "perspective"},
        {"affine": "regressed"},
        {"estimate_occlusion": False, "deformed_source": False},
        {"scale": 2, "downsamplings": 1, "regions": 5, "residual_blocks": 0},
        {"generator_cap": 4, "flow_width": 8, "flow_blocks": 3, "background_cap": 512},
    ],
)
def test_lfdm_format_round_trip_infers_the_architecture(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    model = network(**changes)
    path = write_lfdm(model, tmp_path / "lfdm.pth")
    stored = torch.load(path, weights_only=True)
    assert "pixelwise_flow_predictor.mask.weight" in stored["generator"]
    assert "regions.weight" in stored["region_predictor"]
    assert ("fc.weight" in stored["bg_predictor"]) == (changes.get("background") != "zero")
    found = read_lfdm(path)
    assert same_function(model, found)
    open_ended = {"region_cap", "background_cap", "flow_cap", "generator_cap"}
    if changes.get("background") == "zero":
        open_ended |= {"background_width", "background_blocks"}
    for name, value in model.config.items():
        assert name in open_ended or found.config[name] == value, name


def test_lfdm_checkpoints_of_several_gpus_and_old_batch_norms_load(tmp_path: Path) -> None:
    model = network()
    path = write_lfdm(model, tmp_path / "lfdm.pth")
    stored = torch.load(path, weights_only=True)
    for name in ("generator", "region_predictor", "bg_predictor"):
        stored[name] = {
            f"module.{key}": value
            for key, value in stored[name].items()
            if not key.endswith("num_batches_tracked")
        }
    torch.save({**stored, "optimizer": {"state": {}, "lr": 1e-4}, "epoch": 99}, path)
    assert same_function(model, read_lfdm(path))


def test_lfdm_format_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="norm = group"):
        write_lfdm(network(norm="group"), tmp_path / "x.pth")
    assert not list(tmp_path.iterdir())


def one_sentence(error: pytest.ExceptionInfo[CheckpointError], path: Path) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    assert text.endswith(".")


def test_files_that_are_no_checkpoint_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(CheckpointError) as error:
        read_lfdm(path)
    one_sentence(error, path)
    path.write_text("a song")
    with pytest.raises(CheckpointError) as error:
        read_lfdm(path)
    one_sentence(error, path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match="no generator") as error:
        read_lfdm(path)
    one_sentence(error, path)
    torch.save({"generator": {}, "region_predictor": {}, "bg_predictor": {}}, path)
    with pytest.raises(CheckpointError) as error:
        read_lfdm(path)
    one_sentence(error, path)
    stored = torch.load(write_lfdm(network(), path), weights_only=True)
    stored["generator"]["extra.weight"] = torch.zeros(1)
    torch.save(stored, path)
    with pytest.raises(CheckpointError, match=r"extra\.weight") as error:
        read_lfdm(path)
    one_sentence(error, path)


class Executed:
    """Unpickling one of these would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, protocol: int) -> None:
    path, mark = tmp_path / "x.pth", tmp_path / "executed"
    path.write_bytes(pickle.dumps({"generator": Executed(mark)}, protocol))
    with pytest.raises(CheckpointError, match="never unpickled"):
        read_lfdm(path)
    for zipped in (True, False):
        content = {"generator": Executed(mark), "epoch": np.int64(1)}
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match="never unpickled"):
            read_lfdm(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch", "storage.UntypedStorage"),  # protocol 4 would follow the dot
        ("torch.storage", "os.system"),
        ("torch.storage", "_load_from_bytes"),
        ("builtins", "eval"),
        ("numpy.core.multiarray", "_reconstruct"),
    ],
)
def test_names_that_are_not_listed_are_refused(module: str, name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        _Unpickler(io.BytesIO()).find_class(module, name)


def test_exports_that_are_damaged_or_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder") as error:
        load_autoencoder(tmp_path / "nowhere")
    one_sentence(error, tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CheckpointError, match="finish"):
        load_autoencoder(empty)
    pipeline = tmp_path / "diffusion"
    (pipeline / "export").mkdir(parents=True)
    (pipeline / "export" / "model_index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="stage 2"):
        load_autoencoder(pipeline)
    export = save_autoencoder(network(), tmp_path / "export")
    config = json.loads((export / "config.json").read_text())
    for change, match in (
        ({"format": "other"}, "does not describe"),
        ({"version": 99}, "version 99"),
        ({"digest": "0"}, "different exports"),
        ({"architecture": {**config["architecture"], "color": 1}}, "color"),
        ({"architecture": {**config["architecture"], "regions": 4}}, "does not hold the weights"),
    ):
        (export / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(CheckpointError, match=match) as error:
            load_autoencoder(export)
        one_sentence(error, export)
    (export / "config.json").write_text(json.dumps(config))
    weights = (export / "autoencoder.safetensors").read_bytes()
    (export / "autoencoder.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(CheckpointError, match="export the run again"):
        load_autoencoder(export)
    (export / "autoencoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no autoencoder"):
        load_autoencoder(export)


def test_vgg_weights_load_by_torchvisions_names_and_are_checked(tmp_path: Path) -> None:
    pyramid = VGG19Pyramid()
    path = tmp_path / "vgg.pth"
    torch.save({**pyramid.state_dict(), "classifier.0.weight": torch.zeros(2)}, path)
    loaded = load_vgg19(path)
    image = torch.rand(1, 3, 32, 32)
    for a, b in zip(pyramid(image), loaded(image), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(CheckpointError, match="dabfusion download vgg19"):
        load_vgg19(tmp_path / "missing.pth")
    damaged = tmp_path / "vgg19-dcbb9e9d.pth"
    path.rename(damaged)
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_vgg19(damaged)
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a VGG-19"):
        load_vgg19(path)
