"""Reconstruction error of stage 1, compared with copying the reference, as sums over batches.

Foreground: the pixels whose mean absolute difference between driving frame and reference exceeds
`FOREGROUND_THRESHOLD`. This is what a reconstruction has to change; scores over whole images mostly
measure the background, which does not change.
"""

from __future__ import annotations

import torch
from torch import Tensor

FOREGROUND_THRESHOLD = 0.05
#: Entries of `reconstruction_sums`, in order.
SUMS = ("l1", "l1_copy", "l1_deformed", "square", "square_copy", "pixels", "l1_all", "frames")


def reconstruction_sums(
    reference: Tensor, driving: Tensor, prediction: Tensor, deformed: Tensor
) -> Tensor:
    """Return sums (8,) float64 over the foreground of a batch, in the order of `SUMS`.

    Sums of several batches and processes are added before `reconstruction_scores`.

    Args:
        reference: (B, 3, H, W) in [0, 1].
        driving, prediction, deformed: (B, T, 3, H, W) in [0, 1].
    """
    copied = (driving - reference[:, None]).abs()
    changed = copied.mean(dim=2) > FOREGROUND_THRESHOLD
    error = (driving - prediction).abs()
    warped = (driving - deformed).abs()

    def inside(values: Tensor) -> Tensor:
        return (values.mean(dim=2) * changed).sum(dtype=torch.float64)

    return torch.stack(
        [
            inside(error),
            inside(copied),
            inside(warped),
            inside(error.square()),
            inside(copied.square()),
            changed.sum(dtype=torch.float64),
            error.mean(dim=(2, 3, 4)).sum(dtype=torch.float64),
            error.new_tensor(error.shape[0] * error.shape[1], dtype=torch.float64),
        ]
    )


def reconstruction_scores(sums: Tensor) -> dict[str, float]:
    """Compute scores from the sum of all `reconstruction_sums`.

    Args:
        sums: (8,) in the order of `SUMS`.

    Returns:
        `l1`, `l1_copy`: mean absolute difference over the foreground, of the prediction and of a
        copy of the reference. `l1_ratio`: the first divided by the second; 1 is as good as copying.
        `l1_ratio_deformed`: the same for the warped reference. `psnr`, `psnr_copy`, `psnr_gain`:
        decibels over the foreground. `l1_all`: over whole images. Without foreground, NaN.
    """
    s = dict(zip(SUMS, sums.tolist(), strict=True))
    pixels = s["pixels"] or float("nan")
    square, square_copy = torch.tensor([s["square"], s["square_copy"]]).div(pixels)
    psnr = float(-10 * torch.log10(square))
    psnr_copy = float(-10 * torch.log10(square_copy))
    return {
        "l1": s["l1"] / pixels,
        "l1_copy": s["l1_copy"] / pixels,
        "l1_ratio": s["l1"] / (s["l1_copy"] or float("nan")),
        "l1_ratio_deformed": s["l1_deformed"] / (s["l1_copy"] or float("nan")),
        "psnr": psnr,
        "psnr_copy": psnr_copy,
        "psnr_gain": psnr - psnr_copy,
        "l1_all": s["l1_all"] / (s["frames"] or float("nan")),
    }
