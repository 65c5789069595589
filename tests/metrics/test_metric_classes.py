"""The torchmetrics side: states, forward, reset, pickling, collections, plots, messages."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

import metrics
from metrics import (
    AVAlign,
    BeatAlignmentScore,
    BeatF1,
    FrechetVideoDistance,
    KernelVideoDistance,
    MotionDiversity,
    MotionJerk,
    MotionMusicAlignment2D,
    NearestTrainingClip,
    PhaseCosine,
    WarpError,
)
from metrics.motion_music_alignment import clip_scores
from metrics.motion_source import motion_signal

mpl.use("Agg")
ROOT = Path(__file__).resolve().parents[2]


def batch(clips: int, seed: int) -> dict[str, Tensor | float]:
    """Random motion and a ladder of beats, as the arguments of `update`."""
    random = torch.Generator().manual_seed(seed)
    beats = 0.1 + 0.2 * torch.rand(clips, 1, generator=random) + 0.5 * torch.arange(8)
    return {"motion": 30 * torch.rand(clips, 39, generator=random), "fps": 10.0,
            "music_beats": beats}  # fmt: skip


def updated(name: str) -> Metric:
    """Each metric after two different updates."""
    random = torch.Generator().manual_seed(0)
    video = torch.randint(0, 255, (2, 4, 3, 32, 32), generator=random, dtype=torch.uint8)
    one, two = batch(3, 1), batch(5, 2)
    metric: Metric
    if name in ("MotionMusicAlignment2D", "BeatF1", "PhaseCosine"):
        metric = getattr(metrics, name)()
        for part in (one, two):
            metric.update(**part)
    elif name == "MotionJerk":
        metric = MotionJerk()
        for part in (one, two):
            metric.update(motion=part["motion"], fps=10)
    elif name == "BeatAlignmentScore":
        metric = BeatAlignmentScore("bailando")
        for part in (one, two):
            metric.update(speed=part["motion"], fps=10, music_beats=part["music_beats"])
    elif name == "AVAlign":
        metric = AVAlign()
        for part in (one, two):
            metric.update(magnitude=part["motion"], fps=10, onsets=part["music_beats"])
    elif name == "WarpError":
        metric = WarpError()
        metric.update(video)
        metric.update(video.flip(1))
    elif name == "MotionDiversity":
        metric = MotionDiversity(4, capacity=20)
        for count in (3, 5):
            metric.update(torch.rand(count, 4, generator=random))
    elif name == "NearestTrainingClip":
        metric = NearestTrainingClip(4, capacity=20)
        for count, training in ((6, True), (5, False)):
            metric.update(torch.rand(count, 4, generator=random), training=training)
    else:
        metric = {
            "FrechetVideoDistance": lambda: FrechetVideoDistance(dimension=4),
            "KernelVideoDistance": lambda: KernelVideoDistance(dimension=4, capacity=20),
        }[name]()
        for real in (True, False):
            metric.update(torch.rand(9, 4, generator=random), real=real)
    return metric


OWN = {  # torchmetrics' own classes, which have its tests
    "FrechetInceptionDistance": "torchmetrics.image.fid",
    "LearnedPerceptualImagePatchSimilarity": "torchmetrics.image.lpip",
    "PeakSignalNoiseRatio": "torchmetrics.image.psnr",
    "StructuralSimilarityIndexMeasure": "torchmetrics.image.ssim",
}
NAMES = [name for name in metrics.__all__ if name not in {"VERSION", *OWN}]


def test_every_exported_name_is_a_metric() -> None:
    assert len(NAMES) == 11
    assert all(issubclass(getattr(metrics, name), Metric) for name in NAMES)
    with pytest.raises(AttributeError, match="Nothing"):
        metrics.Nothing  # noqa: B018


def test_torchmetrics_own_classes_are_exported_unchanged() -> None:
    for name, home in OWN.items():
        assert getattr(metrics, name) is getattr(import_module(home), name)
        assert name in dir(metrics)


def test_fid_takes_any_network_without_a_download() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    metric = metrics.FrechetInceptionDistance(network, normalize=True)
    images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for real in (True, False):
        metric.update(images, real=real)
    assert float(metric.compute()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("FrechetInceptionDistance", "torch_fidelity"),
        ("LearnedPerceptualImagePatchSimilarity", "torchvision"),
    ],
)
def test_a_missing_package_is_named(name: str, package: str) -> None:
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed, and making the metric would fetch weights")
    with pytest.raises(ModuleNotFoundError, match=f"(?i){package.replace('_', '.')}"):
        getattr(metrics, name)()


def test_importing_metrics_imports_no_metric() -> None:
    code = "import sys, metrics; print({'torch', 'torchmetrics', 'torchvision'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stderr


def flat(result: Tensor | dict[str, Tensor]) -> list[float]:
    values = list(result.values()) if isinstance(result, dict) else [result]
    return [float(value) for value in values]


@pytest.mark.parametrize("name", NAMES)
def test_pickle_clone_reset_and_plot(name: str) -> None:
    metric = updated(name)
    result = flat(metric.compute())
    assert all(value == value for value in result)  # no NaN
    assert flat(pickle.loads(pickle.dumps(metric)).compute()) == result
    assert flat(metric.clone().compute()) == result
    figure, axes = metric.plot()
    assert figure is not None
    assert axes is not None
    metric.reset()
    fresh = metric.__class__.__name__
    for state, default in metric._defaults.items():
        torch.testing.assert_close(getattr(metric, state), default, msg=f"{fresh}.{state}")


@pytest.mark.parametrize("name", NAMES)
def test_states_have_a_fixed_shape(name: str) -> None:
    metric = updated(name)
    for state, default in metric._defaults.items():
        assert isinstance(default, Tensor), f"{state} is a list"
        assert getattr(metric, state).shape == default.shape


@pytest.mark.parametrize("kind", [MotionMusicAlignment2D, BeatF1, PhaseCosine])
def test_forward_returns_the_batch_and_keeps_the_sum(kind: type[Metric]) -> None:
    metric, alone = kind(), kind()
    whole = kind()
    for seed in (1, 2, 3):
        part = batch(seed, seed)
        found = flat(metric(**part))
        alone.reset()
        alone.update(**part)
        torch.testing.assert_close(found, flat(alone.compute()), equal_nan=True)
        whole.update(**part)
    torch.testing.assert_close(flat(metric.compute()), flat(whole.compute()))


@pytest.mark.parametrize("name", ["KernelVideoDistance", "FrechetVideoDistance"])
def test_forward_of_distances(name: str) -> None:
    random = torch.Generator().manual_seed(5)
    metric = getattr(metrics, name)(dimension=3)
    whole = getattr(metrics, name)(dimension=3)
    true, made = torch.rand(8, 3, generator=random), torch.rand(8, 3, generator=random)
    metric.update(true, real=True)
    metric.update(made, real=False)
    before = metric.compute()
    whole.update(true, real=True)
    whole.update(torch.cat([made, made]), real=False)
    metric.update(made, real=False)
    torch.testing.assert_close(metric.compute(), whole.compute())
    assert before != metric.compute()


def test_the_class_adds_nothing_to_the_formula() -> None:
    metric = MotionMusicAlignment2D()
    parts = [batch(3, 1), batch(4, 2)]
    rows = []
    for part in parts:
        metric.update(**part)
        signal = motion_signal(motion=part["motion"], fps=10)
        rows.append(clip_scores(signal, 10, part["music_beats"]))
    found = metric.compute()
    for name in ("corrected", "raw", "chance", "shifted", "motion_beats"):
        mean = torch.cat([row[name] for row in rows]).mean()
        torch.testing.assert_close(found[name], mean)
    corrected = torch.cat([row["corrected"] for row in rows])
    torch.testing.assert_close(found["standard_error"], corrected.std() / 7**0.5)
    assert found["clips"] == 7


def test_video_or_motion_rate_and_beats_may_come_in_their_order() -> None:
    part = batch(3, 1)
    named, signals, speeds = (MotionMusicAlignment2D() for _ in range(3))
    named.update(**part)
    speeds.update(part["motion"], part["fps"], part["music_beats"])
    signal = motion_signal(motion=part["motion"], fps=part["fps"])
    signals.update(signal, part["fps"], part["music_beats"])
    assert named.compute()["corrected"] == speeds.compute()["corrected"]
    assert named.compute()["corrected"] == signals.compute()["corrected"]
    videos = torch.randint(0, 256, (2, 12, 3, 32, 32), dtype=torch.uint8)
    beats = torch.tensor([[0.2, 0.7], [0.3, 0.8]])
    placed, keyed = MotionMusicAlignment2D(), MotionMusicAlignment2D()
    placed.update(videos, 10.0, beats)
    keyed.update(video=videos, fps=10.0, music_beats=beats)
    torch.testing.assert_close(placed.compute(), keyed.compute(), equal_nan=True)
    with pytest.raises(TypeError, match="fps"):
        placed.update(videos)


def test_standard_error_grows_when_clips_share_music() -> None:
    speeds = 30 * torch.rand(4, 39, generator=torch.Generator().manual_seed(1))
    part = batch(4, 1)
    apart, shared = MotionMusicAlignment2D(), MotionMusicAlignment2D()
    copies = speeds.repeat_interleave(5, 0)
    beats = part["music_beats"].repeat_interleave(5, 0)
    single = MotionMusicAlignment2D()
    single.update(motion=speeds, fps=10, music_beats=part["music_beats"],
                  music_ids=["a", "b", "c", "d"])  # fmt: skip
    apart.update(motion=copies, fps=10, music_beats=beats)
    shared.update(motion=copies, fps=10, music_beats=beats,
                  music_ids=[m for m in "abcd" for _ in range(5)])  # fmt: skip
    errors = [m.compute()["standard_error"].item() for m in (apart, shared, single)]
    assert errors[1] > 1.9 * errors[0]
    assert errors[1] == pytest.approx(errors[2])


def test_collections_do_not_confuse_metrics_of_equal_states() -> None:
    """After a batch of still videos all sums are zero, and equal states would be merged."""
    collection = MetricCollection(
        {
            "sharp": MotionMusicAlignment2D(sigma=0.03),
            "wide": MotionMusicAlignment2D(sigma=0.1),
            "f1": BeatF1(),
            "phase": PhaseCosine(),
        }
    )
    still = {**batch(2, 0), "motion": torch.zeros(2, 39), "music_beats": torch.zeros(2, 0)}
    collection.update(**still)
    collection.update(**batch(6, 3))
    found = collection.compute()
    assert found["sharp_chance"] < found["wide_chance"]
    assert found["f1_f1"] > 0
    assert found["phase"] != 0
    part = MotionMusicAlignment2D(sigma=0.1)
    part.update(**still)
    part.update(**batch(6, 3))
    assert found["wide_raw"] == part.compute()["raw"]


def test_equal_metrics_share_a_compute_group() -> None:
    collection = MetricCollection({"a": MotionMusicAlignment2D(), "b": MotionMusicAlignment2D()})
    collection.update(**batch(3, 1))
    collection.update(**batch(2, 2))
    assert len(collection.compute_groups) == 1
    found = collection.compute()
    assert found["a_corrected"] == found["b_corrected"]


def test_messages() -> None:
    metric = MotionMusicAlignment2D()
    with pytest.raises(ValueError, match="exactly one of"):
        metric.update(fps=10, music_beats=torch.zeros(1, 2))
    with pytest.raises(ValueError, match="video and motion"):
        metric.update(torch.zeros(1, 3, 3, 8, 8), motion=torch.zeros(1, 2), fps=10,
                      music_beats=torch.zeros(1, 2))  # fmt: skip
    with pytest.raises(ValueError, match="one row of beats"):
        metric.update(motion=torch.zeros(2, 9), fps=10, music_beats=torch.zeros(1, 2))
    with pytest.raises(ValueError, match="music ids"):
        metric.update(motion=torch.zeros(2, 9), fps=10, music_beats=torch.zeros(2, 2),
                      music_ids=["a"])  # fmt: skip
    with pytest.raises(ValueError, match="sigma"):
        MotionMusicAlignment2D(sigma=0)
    with pytest.raises(ValueError, match="preset"):
        BeatAlignmentScore("none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="larger capacity"):
        MotionDiversity(2, capacity=3).update(torch.rand(4, 2))
    with pytest.raises(ValueError, match="at least two"):
        FrechetVideoDistance(dimension=2).compute()
    with pytest.raises(ValueError, match="extractor"):
        FrechetVideoDistance()


def test_one_collection_of_every_score_of_beats() -> None:
    """All of them from one motion, as a collection: its own prefixes, forward, clone and reset."""
    scores = MetricCollection(
        {"align": MotionMusicAlignment2D(), "f1": BeatF1(), "phase": PhaseCosine()}, prefix="val/"
    )
    copy = scores.clone(prefix="test/")
    first = scores(**batch(4, 1))
    assert {"val/align_corrected", "val/f1_corrected", "val/phase"} <= set(first)
    scores.update(**batch(3, 2))
    copy.update(**batch(4, 1))
    for name, value in copy.compute().items():
        torch.testing.assert_close(value, first[name.replace("test/", "val/")], equal_nan=True)
    scores.reset()
    assert scores["align"].clips == 0


@pytest.mark.parametrize("name", ["BeatAlignmentScore", "AVAlign", "MotionJerk"])
def test_forward_of_scores_with_other_inputs(name: str) -> None:
    arguments = {
        "BeatAlignmentScore": lambda part: {
            "speed": part["motion"], "fps": 10, "music_beats": part["music_beats"]
        },
        "AVAlign": lambda part: {
            "magnitude": part["motion"], "fps": 10, "onsets": part["music_beats"]
        },
        "MotionJerk": lambda part: {"motion": part["motion"], "fps": 10},
    }[name]  # fmt: skip
    metric, whole = getattr(metrics, name)(), getattr(metrics, name)()
    for seed in (1, 2):
        alone = getattr(metrics, name)()
        alone.update(**arguments(batch(seed, seed)))
        found = flat(metric(**arguments(batch(seed, seed))))
        torch.testing.assert_close(found, flat(alone.compute()))
        whole.update(**arguments(batch(seed, seed)))
    torch.testing.assert_close(flat(metric.compute()), flat(whole.compute()))
