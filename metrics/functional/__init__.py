"""The formulas: tensors in, tensors out, no state, no files."""

from metrics.functional.alignment import (
    AlignmentScores,
    align,
    alignment_chance,
    beat_alignment,
    correct_for_chance,
)
from metrics.functional.beats import keep_inside, motion_beats, observable_window
from metrics.functional.bootstrap import Interval, cluster_bootstrap, t_interval
from metrics.functional.controls import (
    align_across,
    align_shifted,
    control_fractions,
    other_music,
)
from metrics.functional.distances import (
    bootstrap_distance,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest_distances,
)
from metrics.functional.matching import (
    av_align,
    beat_coverage_and_hit,
    beat_f1,
    beat_f1_chance,
    beat_f1_corrected,
    local_peaks,
)
from metrics.functional.motion import (
    MotionSignal,
    motion_from_flow,
    motion_from_keypoints,
    motion_from_latent_flow,
    motion_profile,
)
from metrics.functional.motion_video import (
    flow_magnitude,
    motion_and_magnitude,
    motion_from_video,
)
from metrics.functional.optical_flow import optical_flow
from metrics.functional.phase import phase_cosine, shift_beats
from metrics.functional.presets import PRESETS, preset_alignment, preset_motion_beats
from metrics.functional.warping import (
    signal_jerk,
    visible_before,
    warp,
    warp_errors,
    warp_errors_of_video,
)

__all__ = [
    "PRESETS",
    "AlignmentScores",
    "Interval",
    "MotionSignal",
    "align",
    "align_across",
    "align_shifted",
    "alignment_chance",
    "av_align",
    "beat_alignment",
    "beat_coverage_and_hit",
    "beat_f1",
    "beat_f1_chance",
    "beat_f1_corrected",
    "bootstrap_distance",
    "cluster_bootstrap",
    "control_fractions",
    "correct_for_chance",
    "flow_magnitude",
    "frechet_distance",
    "keep_inside",
    "kernel_distance",
    "local_peaks",
    "mean_pairwise_distance",
    "motion_and_magnitude",
    "motion_beats",
    "motion_from_flow",
    "motion_from_keypoints",
    "motion_from_latent_flow",
    "motion_from_video",
    "motion_profile",
    "nearest_distances",
    "observable_window",
    "optical_flow",
    "other_music",
    "phase_cosine",
    "preset_alignment",
    "preset_motion_beats",
    "shift_beats",
    "signal_jerk",
    "t_interval",
    "visible_before",
    "warp",
    "warp_errors",
    "warp_errors_of_video",
]
