"""The whole published model a second time: functions over a checkpoint in LFDM's own format.

Written from the papers' formulas with nothing of ours but the weights' names, so that sizes, region
counts, backgrounds and depths are checked from pixels to pixels.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.lfdm_checkpoint import read_lfdm, write_lfdm
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

State = dict[str, Tensor]


def conv(state: State, name: str, x: Tensor, padding: int) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)


def norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / (var + 1e-5).sqrt()
    moved = (x - mean[:, None, None]) * scale[:, None, None]
    return F.relu(moved + state[f"{name}.bias"][:, None, None])


def block(state: State, name: str, x: Tensor, padding: int = 1) -> Tensor:
    return norm(state, f"{name}.norm", conv(state, f"{name}.conv", x, padding))


def down(state: State, name: str, x: Tensor) -> Tensor:
    return F.avg_pool2d(block(state, name, x), 2)


def up(state: State, name: str, x: Tensor) -> Tensor:
    return block(state, name, x.repeat_interleave(2, -1).repeat_interleave(2, -2))


def has(state: State, name: str) -> bool:
    return any(key.startswith(f"{name}.") for key in state)


def encoder(state: State, name: str, x: Tensor) -> list[Tensor]:
    maps = [x]
    while has(state, f"{name}.down_blocks.{len(maps) - 1}"):
        maps.append(down(state, f"{name}.down_blocks.{len(maps) - 1}", maps[-1]))
    return maps


def hourglass(state: State, name: str, x: Tensor) -> Tensor:
    maps = encoder(state, f"{name}.encoder", x)
    out = maps.pop()
    for i in range(len(maps)):
        out = torch.cat([up(state, f"{name}.decoder.up_blocks.{i}", out), maps.pop()], 1)
    return out


def small(image: Tensor) -> Tensor:
    """A quarter of the resolution: Gaussian of sigma 1.5 over 13 x 13, then every 4th pixel."""
    line = torch.exp(-(torch.arange(-6, 7).to(image) ** 2) / (2 * 1.5**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    return F.conv2d(image, kernel.expand(3, 1, 13, 13), padding=6, groups=3)[..., ::4, ::4]


def grid_of(like: Tensor) -> Tensor:
    height, width = like.shape[-2:]
    x = torch.linspace(-1, 1, width, dtype=like.dtype)
    y = torch.linspace(-1, 1, height, dtype=like.dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def regions(state: State, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    features = hourglass(state, "predictor", small(image))
    logits = conv(state, "regions", features, 0)
    heat = (logits.flatten(2) / 0.1).softmax(-1).reshape(logits.shape)[..., None]
    grid = grid_of(logits)
    shift = (heat * grid).sum((2, 3))
    offset = grid - shift[:, :, None, None]
    covar = (heat[..., None] * offset[..., None] * offset[..., None, :]).sum((2, 3))
    u, d, _ = torch.linalg.svd(covar)
    return shift, covar, u @ torch.diag_embed(d.sqrt())


def background(state: State, pair: Tensor) -> Tensor:
    matrix = torch.eye(3, dtype=pair.dtype).repeat(len(pair), 1, 1)
    if not state:
        return matrix
    pooled = encoder(state, "encoder", pair)[-1].mean((2, 3))
    numbers = pooled @ state["fc.weight"].T + state["fc.bias"]
    if numbers.shape[1] == 2:
        matrix[:, :2, 2] = numbers
    else:
        matrix[:, :2] = numbers[:, :6].reshape(-1, 2, 3)
        matrix[:, 2, :2] = numbers[:, 6:] if numbers.shape[1] == 8 else 0
    return matrix


def sampled(image: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def motion(
    state: State, source: Tensor, of: tuple[Tensor, ...], to: tuple[Tensor, ...], matrix: Tensor
) -> tuple[Tensor, Tensor]:
    image = small(source)
    grid = grid_of(image)
    seen = torch.cat([grid, torch.ones_like(grid[..., :1])], -1) @ matrix[:, None].mT
    candidates, inputs = [seen[..., :2] / seen[..., 2:]], [torch.zeros_like(image[:, :1])]
    for k in range(of[0].shape[1]):
        affine = of[2][:, k] @ torch.linalg.inv(to[2][:, k])
        affine = affine * affine[:, :1, :1].sign()
        offsets = [grid - shift[:, k, None, None] for shift in (to[0], of[0])]
        candidates.append(offsets[0] @ affine[:, None].mT + of[0][:, k, None, None])
        forms = [
            (offset @ torch.linalg.inv(covar[:, k])[:, None] * offset).sum(-1)
            for offset, covar in zip(offsets, (to[1], of[1]), strict=True)
        ]
        inputs.append((torch.exp(-forms[0] / 2) - torch.exp(-forms[1] / 2))[:, None])
    for k, candidate in enumerate(candidates):
        inputs[k] = torch.cat([inputs[k], sampled(image, candidate)], 1)
    features = hourglass(state, "pixelwise_flow_predictor.hourglass", torch.cat(inputs, 1))
    mask = conv(state, "pixelwise_flow_predictor.mask", features, 3).softmax(1)
    flow = sum(mask[:, k, ..., None] * c for k, c in enumerate(candidates))
    assert isinstance(flow, Tensor)
    return flow, conv(state, "pixelwise_flow_predictor.occlusion", features, 3).sigmoid()


def decoded(state: State, source: Tensor, flow: Tensor, occlusion: Tensor) -> Tensor:
    def apply(skip: Tensor, previous: Tensor | None) -> Tensor:
        size = skip.shape[-2:]
        grid = F.interpolate(flow.movedim(-1, 1), size=size, mode="bilinear").movedim(1, -1)
        share = F.interpolate(occlusion, size=size, mode="bilinear")
        moved = sampled(skip, grid) * share
        return moved if previous is None else moved + previous * (1 - share)

    skips = [block(state, "first", source, 3)]
    while has(state, f"down_blocks.{len(skips) - 1}"):
        skips.append(down(state, f"down_blocks.{len(skips) - 1}", skips[-1]))
    out = apply(skips[-1], None)
    i = 0
    while has(state, f"bottleneck.r{i}"):
        inner = conv(state, f"bottleneck.r{i}.conv1", norm(state, f"bottleneck.r{i}.norm1", out), 1)
        inner = norm(state, f"bottleneck.r{i}.norm2", inner)
        out = out + conv(state, f"bottleneck.r{i}.conv2", inner, 1)
        i += 1
    for i, skip in enumerate(reversed(skips[1:])):
        out = up(state, f"up_blocks.{i}", apply(skip, out))
    out = conv(state, "final", apply(skips[0], out), 3).sigmoid()
    return apply(source, out)


@torch.no_grad()
@pytest.mark.parametrize(
    ("height", "width", "changes"),
    [
        (96, 96, {"regions": 7, "background": "affine", "region_width": 6, "flow_blocks": 3}),
        (64, 96, {"regions": 2, "background": "shift", "downsamplings": 1, "residual_blocks": 3}),
        (64, 64, {"regions": 5, "background": "perspective", "downsamplings": 3}),
        (80, 48, {"regions": 1, "background": "zero", "flow_width": 5, "flow_cap": 8}),
        (32, 64, {"regions": 3, "region_blocks": 1, "background_blocks": 4, "generator_cap": 6}),
    ],
)
def test_the_model_is_the_published_one_from_pixels_to_pixels(
    height: int, width: int, changes: dict[str, object], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sizes = {"region_blocks": 2, "background_blocks": 2, "flow_blocks": 2, "residual_blocks": 1}
    widths = dict.fromkeys(("region_width", "background_width", "flow_width"), 4)
    network = LatentFlowAutoencoder(**{**sizes, **widths, "generator_width": 4, **changes})
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "fc.weight")):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    path = write_lfdm(network, tmp_path / "theirs.pth")
    file = torch.load(path, weights_only=True)
    parts = {name: {k: v.double() for k, v in file[name].items()} for name in
             ("generator", "region_predictor", "bg_predictor")}  # fmt: skip
    source, driving = torch.rand(2, 2, 3, height, width, dtype=torch.float64)

    of, to = (regions(parts["region_predictor"], image) for image in (source, driving))
    matrix = background(parts["bg_predictor"], torch.cat([source, driving], 1))
    flow, occlusion = motion(parts["generator"], source, of, to, matrix)
    prediction = decoded(parts["generator"], source, flow, occlusion)

    found = read_lfdm(path).double()(source, driving[:, None])
    for ours, (shift, covar, _) in ((found.reference, of), (found.driving, to)):
        torch.testing.assert_close(ours.shift, shift)
        torch.testing.assert_close(ours.covar, covar)
    assert (found.background - matrix).abs().max() < 1e-9
    torch.testing.assert_close(found.flow[:, 0], flow, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.occlusion[:, 0], occlusion, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.prediction[:, 0], prediction, atol=1e-5, rtol=0)
