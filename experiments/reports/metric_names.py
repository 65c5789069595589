"""Readable names of metrics, and which direction is better."""

from collections.abc import Mapping

#: Metrics shown first: the score of a dance, then the controls that must be lower.
FIRST_METRICS = ("corrected", "half_beat_off", "other_music", "shifted", "raw", "chance")

#: Name, and whether higher is better. None where neither direction is: controls, counts, and the
#: raw alignment, which also rises with the number of motion beats.
METRICS: dict[str, tuple[str, bool | None]] = {
    "corrected": ("Alignment, chance-corrected", True),
    "half_beat_off": ("Beats shifted by half a beat (control)", None),
    "other_music": ("Beats of other songs (control)", None),
    "shifted": ("Beats shifted in time (control)", None),
    "raw": ("Alignment, raw", None),
    "chance": ("Alignment by chance", None),
    "control_difference": ("Alignment minus shifted beats", True),
    "other_difference": ("Alignment minus other songs", True),
    "music_to_motion": ("Alignment, music to motion", True),
    "motion_beats": ("Motion beats", None),
    "music_beats": ("Music beats", None),
    "f1": ("Beat F1", True),
    "f1_corrected": ("Beat F1, chance-corrected", True),
    "phase_cosine": ("Phase agreement", True),
    "av_align": ("AV-Align", True),
    "loss": ("Loss", False),
    "denoising": ("Denoising loss", False),
    "velocity": ("Velocity loss", False),
    "l1": ("L1", False),
    "l1_all": ("L1, whole image", False),
    "l1_copy": ("L1 of copying the reference", None),
    "l1_ratio": ("L1 relative to copying", False),
    "l1_ratio_deformed": ("L1 relative to copying, warp only", False),
    "psnr": ("PSNR, dB", True),
    "psnr_copy": ("PSNR of copying, dB", None),
    "psnr_gain": ("PSNR above copying, dB", True),
    "ssim": ("SSIM", True),
}
#: What a key's prefix adds to the name.
_PREFIXES = {
    "val/align_pixels_": ", decoded video",
    "val/align_": "",
    "val/": "",
    "train/": ", training",
}


def metric_title(key: str) -> str:
    """Return a readable name of a metric's key (``val/align_corrected``), or the key itself."""
    name, note = _split(key)
    return METRICS[name][0] + note if name in METRICS else key


def best_runs(key: str, values: Mapping[str, float]) -> set[str]:
    """Return the names of the runs with the best value.

    Args:
        key: The metric.
        values: Value of each run; NaN where it is not defined.

    Returns:
        Nothing where the metric has no better direction or no two runs can be compared.
    """
    higher = METRICS.get(_split(key)[0], ("", None))[1]
    finite = {run: value for run, value in values.items() if value == value}
    if higher is None or len(finite) < 2:
        return set()
    best = max(finite.values()) if higher else min(finite.values())
    return {run for run, value in finite.items() if value == best}


def _split(key: str) -> tuple[str, str]:
    prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
    return key.removeprefix(prefix), _PREFIXES.get(prefix, "")
