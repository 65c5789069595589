"""The model card (README.md) of an exported pipeline: contents, data, scores and consent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

NOTICE = """\
This model animates an image of a person. Use images of people who agreed to it, or images you
have the right to animate; say that a video is generated wherever it is shown; do not use it to
deceive, harass or impersonate anyone. The dancers and the music of the training data are under the
terms of that data set (AIST: see its terms of use)."""

RENDERED = """\
This model was trained on rendered dancers: drawn figures that move to synthetic music, not videos
of people. It shows that training works. Do not expect natural motion or faithful images of people
from it."""


def model_card(settings: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    """Markdown of the model card.

    Args:
        settings: The pipeline's clip format and sampling defaults.
        notes: About the training: `data`, `settings`, `scores`, `rendered_dancers` (true if the
            training videos were rendered), and anything else that JSON can hold.
    """
    size, fps = settings["size"], settings["fps"]
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: dabfusion-lightning",
        "tags: [music-to-dance, video, diffusion, latent-flow]",
        "---",
        "",
        "# A DabFusion pipeline",
        "",
        "From one image of a person and a song to a video of that person dancing.",
        f"Frames of {size} x {size} pixels, {fps:g} a second; denoised in windows of "
        f"{settings['frames']} frames.",
        "",
        "```python",
        "from lightning_modules.pipeline import DabFusionPipeline",
        "",
        'pipe = DabFusionPipeline.from_pretrained("THIS_FOLDER")',
        'pipe("person.jpg", "song.mp3", seconds=12).save("dance.mp4")',
        "```",
        "",
        "## Consent and misuse",
        "",
        NOTICE,
        "",
        "## Limits",
        "",
        "Trained on one kind of view (a whole person, standing, one camera). Fast arms smear,",
        "hidden limbs are guessed, and a person unlike the training images is deformed. The",
        "weights are under Apache-2.0 as far as their makers' rights go; rights in the training",
        "data remain.",
    ]
    if notes.get("rendered_dancers"):
        lines += ["", "## Training data", "", RENDERED]
    for title, key in (("Data", "data"), ("Scores", "scores"), ("Settings", "settings")):
        if notes.get(key):
            lines += ["", f"## {title}", "", *_block(notes[key])]
    rest = {
        k: v
        for k, v in notes.items()
        if k not in ("data", "scores", "settings", "rendered_dancers")
    }
    if rest:
        lines += ["", "## Training", "", *_block(rest)]
    lines += ["", "## Sampling defaults", "", *_block(settings)]
    return "\n".join(lines) + "\n"


def _block(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return ["```json", json.dumps(value, indent=2, sort_keys=True, default=str), "```"]
