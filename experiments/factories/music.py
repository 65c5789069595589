"""Settings -> the frozen music encoders."""

from __future__ import annotations

from experiments.config.load import Settings
from lightning_modules.music.clap import load_clap
from lightning_modules.music.encoders import MusicEncoders
from lightning_modules.music.wav2clip import load_wav2clip


def build_encoders(settings: Settings) -> MusicEncoders | None:
    """The encoders that the settings switch on, or None.

    Raises:
        CheckpointError: one is switched on, but its weights are not given or not its own.
    """
    music = settings.music
    hears_clap = music.clap or music.clap_tokens
    if not hears_clap and not music.wav2clip:
        return None
    return MusicEncoders(
        load_clap(music.clap_weights) if hears_clap else None,
        load_wav2clip(music.wav2clip_weights) if music.wav2clip else None,
    )
