"""The autoencoder against a second derivation of its formulas in numpy, and its contracts."""

import numpy as np
import pytest
import torch

from lightning_modules.networks.autoencoder import LatentFlowAutoencoder
from lightning_modules.networks.blocks import AntialiasedDownsample
from lightning_modules.networks.generator import fill_from_surroundings
from lightning_modules.networks.regions import BackgroundPredictor

SMALL = {
    "regions": 3,
    "region_width": 4,
    "region_blocks": 2,
    "region_cap": 16,
    "background_width": 4,
    "background_blocks": 2,
    "background_cap": 16,
    "flow_width": 4,
    "flow_blocks": 2,
    "flow_cap": 16,
    "generator_width": 4,
    "generator_cap": 16,
    "residual_blocks": 1,
}
COMPACT = SMALL | {
    "affine": "regressed",
    "shared_affine_map": False,
    "region_padding": 1,
    "background": "zero",
    "correct_sign": False,
    "prior": 6.0,
    "prior_background": 2.5,
    "align_corners": True,
    "kernel": 3,
    "stem": "unshuffle",
    "norm": "group",
}


def small_network(**changes: object) -> LatentFlowAutoencoder:
    """Random weights that move something, and running statistics that are not the initial ones."""
    torch.manual_seed(0)
    network = LatentFlowAutoencoder(**{**SMALL, **changes})
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "fc.weight")):
            tensor.normal_(std=0.05)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def images(batch: int, times: int, height: int = 48, width: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, times, 3, height, width, generator=generator)


# --- the same formulas a second time, with loops, in numpy -------------------------------------


def np_grid(height: int, width: int) -> np.ndarray:
    return np.array(
        [
            [(2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1) for x in range(width)]
            for y in range(height)
        ]
    )


def np_sample(image: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """(C, H, W) at (h, w, 2): bilinear, zeros outside, -1 and 1 at the outer edges."""
    channels, height, width = image.shape
    out = np.zeros((channels, *grid.shape[:2]))
    for i in range(grid.shape[0]):
        for j in range(grid.shape[1]):
            x = ((grid[i, j, 0] + 1) * width - 1) / 2
            y = ((grid[i, j, 1] + 1) * height - 1) / 2
            for yy in (int(np.floor(y)), int(np.floor(y)) + 1):
                for xx in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= xx < width and 0 <= yy < height:
                        weight = (1 - abs(x - xx)) * (1 - abs(y - yy))
                        out[:, i, j] += weight * image[:, yy, xx]
    return out


def np_regions(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shift, covariance and affine of logits (K, h, w) at temperature 0.1."""
    shifts, covars, affines = [], [], []
    grid = np_grid(*logits.shape[1:])
    for scores in logits:
        heat = np.exp((scores - scores.max()) / 0.1)
        heat /= heat.sum()
        shift = (heat[..., None] * grid).sum((0, 1))
        offset = grid - shift
        covar = np.einsum("hw,hwi,hwj->ij", heat, offset, offset)
        u, d, _ = np.linalg.svd(covar)
        shifts.append(shift)
        covars.append(covar)
        affines.append(u @ np.diag(np.sqrt(d)))
    return np.stack(shifts), np.stack(covars), np.stack(affines)


def np_flow(
    network: LatentFlowAutoencoder,
    small: np.ndarray,
    source: tuple[np.ndarray, np.ndarray, np.ndarray],
    driving: tuple[np.ndarray, np.ndarray, np.ndarray],
    background: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Flow (h, w, 2) and occlusion (h, w) of one pair; only the hourglass itself is ours."""
    grid = np_grid(*small.shape[1:])
    homogeneous = np.concatenate([grid, np.ones_like(grid[..., :1])], -1) @ background.T
    candidates = [homogeneous[..., :2] / homogeneous[..., 2:]]
    heatmaps = [np.zeros(grid.shape[:2])]
    for k in range(len(source[0])):
        affine = source[2][k] @ np.linalg.inv(driving[2][k])
        affine = affine * np.sign(affine[0, 0])
        candidates.append((grid - driving[0][k]) @ affine.T + source[0][k])
        both = []
        for shift, covar in ((driving[0][k], driving[1][k]), (source[0][k], source[1][k])):
            offset = grid - shift
            form = np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(covar), offset)
            both.append(np.exp(-form / 2))
        heatmaps.append(both[0] - both[1])
    stacked = [
        np.concatenate([heat[None], np_sample(small, candidate)])
        for heat, candidate in zip(heatmaps, candidates, strict=True)
    ]
    inputs = torch.from_numpy(np.concatenate(stacked))[None]
    predictor = network.flow_predictor
    features = predictor.hourglass(inputs)
    mask = predictor.mask(features)[0].softmax(0).numpy()
    assert predictor.occlusion is not None
    occlusion = torch.sigmoid(predictor.occlusion(features))[0, 0].numpy()
    return sum(m[..., None] * c for m, c in zip(mask, candidates, strict=True)), occlusion


@torch.no_grad()
@pytest.mark.parametrize("background", ["zero", "shift", "affine", "perspective"])
def test_flow_is_the_page_formulas_written_a_second_time(background: str) -> None:
    network = small_network(background=background).double()
    frames = images(1, 2).double()
    output = network(frames[:, 0], frames[:, 1:])
    parts = []
    for image in (frames[0, :1], frames[0, 1:]):
        small = network.region_predictor.down(image)
        predictor = network.region_predictor
        parts.append(np_regions(predictor.regions(predictor.predictor(small))[0].numpy()))
    matrix = np.eye(3)
    predictor_of_background = network.background_predictor
    if background != "zero":
        pair = torch.cat([frames[:, 0], frames[:, 1]], dim=1)
        features = predictor_of_background.encoder(pair)[-1].mean((2, 3))
        numbers = predictor_of_background.fc(features)[0].numpy()
        if background == "shift":
            matrix[:2, 2] = numbers
        else:
            matrix[:2] = numbers[:6].reshape(2, 3)
        if background == "perspective":
            matrix[2, :2] = numbers[6:]
        assert abs(matrix - np.eye(3)).max() > 1e-3
    np.testing.assert_allclose(output.background[0], matrix, atol=1e-12)
    for regions, (shift, covar, affine) in zip(
        (output.reference, output.driving), parts, strict=True
    ):
        np.testing.assert_allclose(regions.shift[0], shift, atol=1e-10)
        np.testing.assert_allclose(regions.covar[0], covar, atol=1e-10)
        assert regions.affine is not None
        found = regions.affine[0].numpy()
        for k in range(3):
            distance = min(abs(found[k] - s * affine[k]).max() for s in (1, -1))
            assert distance < 1e-6
    small = network.flow_predictor.down(frames[:, 0])[0].numpy()
    flow, occlusion = np_flow(network, small, parts[0], parts[1], matrix)
    np.testing.assert_allclose(output.flow[0, 0], flow, atol=1e-5)
    np.testing.assert_allclose(output.occlusion[0, 0, 0], occlusion, atol=1e-5)
    deformed = np_sample(frames[0, 0].numpy(), np_resize(flow, 48, 32))
    np.testing.assert_allclose(output.deformed[0, 0], deformed, atol=1e-4)


def np_resize(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centers at (i + 1/2) / n, borders repeated."""
    rows, columns = flow.shape[:2]
    y = np.clip((np.arange(height) + 0.5) * rows / height - 0.5, 0, rows - 1)
    x = np.clip((np.arange(width) + 0.5) * columns / width - 0.5, 0, columns - 1)
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    y1, x1 = np.minimum(y0 + 1, rows - 1), np.minimum(x0 + 1, columns - 1)
    fy, fx = (y - y0)[:, None, None], (x - x0)[None, :, None]
    top = flow[y0][:, x0] * (1 - fx) + flow[y0][:, x1] * fx
    bottom = flow[y1][:, x0] * (1 - fx) + flow[y1][:, x1] * fx
    return top * (1 - fy) + bottom * fy


def test_antialiasing_is_a_gaussian_on_every_fourth_pixel() -> None:
    image = np.random.default_rng(0).random((20, 16))
    offsets = np.arange(-6, 7)
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    line /= line.sum()
    padded = np.pad(image, 6)
    expected = np.array(
        [[line @ padded[y : y + 13, x : x + 13] @ line for x in range(0, 16, 4)]
         for y in range(0, 20, 4)]
    )  # fmt: skip
    down = AntialiasedDownsample(1, 4)
    found = down(torch.from_numpy(image).float()[None, None])[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert AntialiasedDownsample(3, 2).weight.shape[-1] == 5


def test_published_sizes_have_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = LatentFlowAutoencoder()
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 66.0


def test_backgrounds_begin_at_the_identity() -> None:
    for kind in ("zero", "shift", "affine", "perspective"):
        predictor = BackgroundPredictor(3, kind, 4, 2, 16, "batch").eval()
        found = predictor(torch.rand(2, 6, 16, 16))
        torch.testing.assert_close(found, torch.eye(3).expand(2, 3, 3))


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, COMPACT, {"affine": "none", "covariance_heatmaps": False}])
def test_all_frames_at_once_equal_one_by_one(changes: dict[str, object]) -> None:
    network = small_network(**changes)
    frames = images(2, 5, 32, 32)
    reference, driving = frames[:, 0], frames[:, 1:]
    together = network(reference, driving)
    decoded = network.decode(reference, together.latent_flow)
    torch.testing.assert_close(decoded, together.prediction)
    torch.testing.assert_close(network.flow(reference, driving), together.latent_flow)
    torch.testing.assert_close(network.encode(reference), together.z)
    for b in range(2):
        for t in range(4):
            one = network(reference[b : b + 1], driving[b : b + 1, t : t + 1])
            for name in ("latent_flow", "prediction", "deformed", "raw"):
                whole = getattr(together, name)[b : b + 1, t : t + 1]
                torch.testing.assert_close(getattr(one, name), whole, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", [{}, COMPACT])
@pytest.mark.parametrize("mode", ["bfloat16", "autocast"])
def test_half_precision_stays_finite_forward_and_backward(
    changes: dict[str, object], mode: str
) -> None:
    network = small_network(**changes).train()
    frames = images(2, 3, 32, 32)
    frames[0] = 0.5  # an image without anything in it: flat heatmaps, isotropic regions
    if mode == "bfloat16":
        network, frames = network.bfloat16(), frames.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"):
        output = network(frames[:, 0], frames[:, 1:])
    total = output.prediction.float().sum() + output.latent_flow.sum() + output.driving.shift.sum()
    total.backward()
    assert torch.isfinite(total)
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
    assert output.flow.dtype == torch.float32


def test_recomputed_activations_give_the_same_gradients() -> None:
    frames = images(1, 3, 32, 32)
    gradients = []
    for recompute in (False, True):
        network = small_network(**COMPACT).train()
        network.checkpoint_gradients = recompute
        network(frames[:, 0], frames[:, 1:]).prediction.square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_sizes_that_do_not_fit_are_refused_with_the_multiple() -> None:
    network = small_network()
    with pytest.raises(ValueError, match=r"40 x 32 pixels.*multiples of 16"):
        network(torch.rand(1, 3, 40, 32), torch.rand(1, 1, 3, 40, 32))
    with pytest.raises(ValueError, match=r"\(B, T, 3, H, W\)"):
        network(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="color"):
        LatentFlowAutoencoder.from_config({"color": 1})
    for name in ("affine", "background", "stem", "norm"):
        with pytest.raises(ValueError, match=name):
            LatentFlowAutoencoder(**{**SMALL, name: "other"})


def test_hidden_cells_are_filled_from_the_seen_ones_around_them() -> None:
    wall = torch.full((1, 3, 12, 12), 0.7)
    wall[:, :, 4:8, 4:8] = 9.0  # what must not show through
    share = torch.ones(1, 1, 12, 12)
    share[:, :, 4:8, 4:8] = 0.0
    torch.testing.assert_close(fill_from_surroundings(wall, share), torch.full_like(wall, 0.7))
    everything = torch.ones_like(share)
    torch.testing.assert_close(fill_from_surroundings(wall, everything), wall)
    assert fill_from_surroundings(wall, torch.zeros_like(share)).isfinite().all()
