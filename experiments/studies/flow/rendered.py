"""Study 1 on rendered dancers, whose true flow is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from datamodules.aist_names import parse
from datamodules.batch import to_unit
from datamodules.synthetic.dataset import DanceSpec, RenderedClip, dance_names, render_clip
from experiments.evaluation.clips import score_clips
from experiments.studies.flow.measure import (
    flow_errors,
    hidden_overlap,
    in_between_scores,
    picture_scores,
    pixel_flow,
    pixel_occlusion,
)
from lightning_modules.networks.autoencoder import LatentFlowAutoencoder

FPS = 10.0
Row = dict[str, Any]


@torch.no_grad()
def measure_rendered(
    network: LatentFlowAutoencoder,
    seed: int,
    clips: int,
    frames: int,
    size: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """One row of numbers for each dance of held-out persons to held-out music.

    Args:
        seed: of the rendered set; the set that the network learnt from has the same routines.
        clips: dances; their reference is the first frame.
        frames: of each dance.
        size: pixels of a side.
    """
    names = dance_names(seed, 0)
    rows = []
    for number in range(clips):
        # Beyond the set's forty dances the same names go on with another seed's looks.
        name = names[number % len(names)]
        spec = DanceSpec(
            name=name,
            seed=seed + number // len(names),
            size=size,
            fps=FPS,
            seconds=frames / FPS,
        )
        rows.append(_measure(network, render_clip(spec), size))
        if progress is not None:
            progress(number + 1, clips)
    return rows


def _measure(network: LatentFlowAutoencoder, clip: RenderedClip, size: int) -> Row:
    video = to_unit(clip.frames)
    reference = video[:1]
    output = network(reference, video[None])
    latent = output.latent_flow[0]
    grid, visible = clip.true_flow(0, list(range(len(video))), size)
    own, _ = clip.true_flow(0, [0], size)
    true = (grid - own) * (size - 1) / 2
    prediction, deformed = output.prediction[0], output.deformed[0]
    parsed = parse(clip.name)
    row: Row = {
        "clip": clip.name,
        "genre": parsed.genre,
        "music": parsed.music,
        **flow_errors(pixel_flow(network, latent, size), true),
        "hidden_iou": hidden_overlap(pixel_occlusion(network, latent, size), visible[:, 0]),
        **picture_scores(reference, video, prediction, deformed),
        **in_between_scores(network, reference[0], video, latent),
    }
    both = torch.stack([video, prediction.clamp(0, 1)])
    beats = torch.from_numpy(clip.beats_s).float()[None].expand(2, -1)
    music = str(parsed.music)
    before, after = score_clips(both, clip.fps, beats, ["true", "made"], [music, music])
    row["align_true"] = before.scores["corrected"]
    row["align_made"] = after.scores["corrected"]
    row["align_lost"] = row["align_true"] - row["align_made"]
    return row
