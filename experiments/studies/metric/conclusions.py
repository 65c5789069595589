"""What the metric study found, in sentences filled from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.studies.metric.members import MEMBERS
from experiments.studies.metric.sweeps import Sweep
from metrics.functional.bootstrap import Interval


def conclude(
    sweeps: Sequence[Sweep],
    needed: Mapping[str, Mapping[str, float]],
    folders: Mapping[str, Mapping[str, Interval]],
) -> list[str]:
    """Sentences filled from the numbers, and nothing that was not measured."""
    found = _Found(sweeps)
    return [
        *_of_beats_and_rate(found),
        *_of_movement(found),
        *_of_pictures_and_music(found),
        "**Power.** To find a dancer who hits 20% of the beats takes "
        + ", ".join(f"{counts['0.2']:.0f} clips by {MEMBERS[m][0]}" for m, counts in needed.items())
        + ".",
        *(_folder_sentence(title, means) for title, means in folders.items()),
        _advice(),
    ]


class _Found:
    """The sweeps by key, with means over the clips by place and member."""

    def __init__(self, sweeps: Sequence[Sweep]) -> None:
        self.sweeps = {sweep.key: sweep for sweep in sweeps}

    def at(self, key: str, place: str, member: str = "corrected") -> float:
        sweep = self.sweeps[key]
        return sweep.means(member)[sweep.places.index(place)]

    def span(self, key: str, member: str = "corrected") -> str:
        means = self.sweeps[key].means(member)
        return f"{min(means):.3f} to {max(means):.3f}"


def _of_beats_and_rate(found: _Found) -> list[str]:
    at, span, fps = found.at, found.span, found.sweeps["fps"]
    other = "other clip's music"
    rates = ", ".join(
        f"{fps.interval('corrected', rate)} at {rate}" for rate in ("10", "20", "30", "60")
    )
    return [
        f"**On and off the beat.** The corrected score is {at('wrong', 'on the beat'):.3f} on the "
        f"beat, {at('wrong', 'half a beat off'):.3f} half a beat off, "
        f"{at('wrong', other):.3f} with another clip's music and "
        f"{at('wrong', 'still'):.3f} for still videos ({at('wrong', 'still, with noise'):.3f} with "
        "noise). The raw BAS with another clip's music is "
        f"{at('wrong', other, 'raw'):.3f}: that is what nothing looks like.",
        f"**Frame rate.** {rates} frames a second; half a beat off {span('fps_off')}. Published "
        f"variants over all rates: mint at {span('fps', 'mint')}, Bailando's at "
        f"{span('fps', 'bailando')}, MACE-Dance's at {span('fps', 'mace')}, AV-Align at "
        f"{span('fps', 'av_align')}.",
    ]


def _of_movement(found: _Found) -> list[str]:
    at = found.at
    return [
        f"**Camera.** With 1 px of shake it is {at('shake', '1'):.3f} against "
        f"{at('shake', '0'):.3f} without; from key points, which know of no camera, "
        f"{at('shake', '1', 'corrected_keypoints'):.3f}. A pan and zoom of a tenth of the width "
        f"leaves {at('pan', '0.1'):.3f}.",
        f"**Jitter.** A dancer half a beat off who shakes by 1 px rises from "
        f"{at('jitter_off', '0'):.3f} to {at('jitter_off', '1'):.3f} in the corrected score; from "
        f"{at('jitter_off', '0', 'bailando'):.3f} to {at('jitter_off', '1', 'bailando'):.3f} in "
        f"Bailando's, from {at('jitter_off', '0', 'mint'):.3f} to "
        f"{at('jitter_off', '1', 'mint'):.3f} in mint.",
        "**AV-Align looks at peaks of motion, not at rests.** A dancer on the beat gets "
        f"{at('wrong', 'on the beat', 'av_align'):.3f}, one half a beat off "
        f"{at('wrong', 'half a beat off', 'av_align'):.3f}: it does not measure this.",
    ]


def _of_pictures_and_music(found: _Found) -> list[str]:
    at, span = found.at, found.span
    rhythms = ", ".join(
        f"{place} {at('rhythms', place):.3f} (tracked {at('rhythms', f'{place}, tracked'):.3f})"
        for place in found.sweeps["rhythms"].places
        if not place.endswith("tracked")
    )
    return [
        f"**Resolution, noise, compression.** 32 to 256 pixels: {span('size')}. Noise up to 16 of "
        f"255: {span('noise')}. H.264 at rate factor 44: {at('compression', '44'):.3f}.",
        f"**Wrong tempo.** At 2% off it is {at('tempo', '+2'):.3f}, at 5% {at('tempo', '+5'):.3f}, "
        f"at 10% {at('tempo', '+10'):.3f}. Beats at half time give {at('metre', 'half'):.3f}, at "
        f"double time {at('metre', 'double'):.3f}: give the tracker the tempo where it is known.",
        f"**Few limbs on the beat.** With half of the limbs on the beat and half off it is "
        f"{at('limbs', '0.5'):.3f}: the score sees the whole figure's speed, not single limbs.",
        f"**Rhythms.** With true beats: {rhythms}.",
    ]


def _folder_sentence(title: str, means: Mapping[str, Interval]) -> str:
    corrected, other = means["corrected"], means["other_difference"]
    beats = corrected.low > 0
    verdict = (
        "above chance"
        if beats
        else "below chance"
        if corrected.high < 0
        else "not told from chance"
    )
    return (
        f"**{capital(title)}.** {corrected.clips} clips: corrected {corrected}, minus other music "
        f"{other}, raw {means['raw']} at a chance level of {means['chance']}: {verdict}."
    )


def _advice() -> str:
    return (
        "**Which to use.** Between methods: the corrected score with its two control differences, "
        "from frames. In validation during training: the same from latent flow. Beside it the "
        "phase cosine, which has no tolerance to choose and tells off-beat from random. Published "
        "variants only to read the literature, at their native frame rate, and never without the "
        "same score for other music."
    )


def capital(text: str) -> str:
    """With a capital letter first."""
    return text[:1].upper() + text[1:]
