"""Checks of the folders and files that a training reads, before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from experiments.config.load import Settings
from experiments.errors import SettingsError

#: For each frozen encoder: the setting of its weights, and what they should be.
_ENCODERS = {
    "clap": ("clap_weights", "a LAION CLAP checkpoint or a Hugging Face CLAP folder"),
    "clap_tokens": ("clap_weights", "a LAION CLAP checkpoint or a Hugging Face CLAP folder"),
    "wav2clip": ("wav2clip_weights", "the released Wav2CLIP.pt"),
}


def check_inputs(settings: Settings, stage: str) -> None:
    """Check that the folders in the settings are what they should be.

    Args:
        settings: Resolved.
        stage: `autoencoder`, `diffusion` or `music-adapter`.

    Raises:
        SettingsError: One is not given, missing, or something else.
    """
    if not settings.data:
        raise SettingsError("data= is not given; give the folder that `dabfusion prepare` wrote.")
    data = Path(settings.data)
    if not (data / "dataset.json").is_file():
        found = "holds no dataset.json" if data.is_dir() else "is not a folder"
        raise SettingsError(
            f'data="{data}" {found}; give the folder that `dabfusion prepare VIDEOS FOLDER` wrote.'
        )
    if stage == "diffusion":
        _check_autoencoder(settings.autoencoder)
    if stage in ("diffusion", "music-adapter"):
        _check_music(settings)


def _check_music(settings: Settings) -> None:
    for name, (key, expected) in _ENCODERS.items():
        path = getattr(settings.music, key)
        if not getattr(settings.music, name):
            continue
        if not path:
            raise SettingsError(
                f"music.{name} is on, but music.{key} is empty; give the path of {expected}, or "
                f"set music.{name}=false (music.spectral=true needs no weights)."
            )
        if not Path(path).exists():
            raise SettingsError(
                f'music.{key}="{path}" does not exist; give the path of {expected}.'
            )


def _check_autoencoder(given: str) -> None:
    if not given:
        raise SettingsError(
            "autoencoder= is not given, and the diffusion builds on a trained stage 1; give the "
            "run folder of `dabfusion train autoencoder`."
        )
    folder = Path(given)
    if not folder.is_dir():
        raise SettingsError(
            f'autoencoder="{folder}" is not a folder; give the run or export folder of stage 1.'
        )
    places = (folder, folder / "export", folder / "autoencoder")
    if any((place / "autoencoder.safetensors").is_file() for place in places):
        return
    if (folder / "model_index.json").is_file() or (folder / "export/model_index.json").is_file():
        raise SettingsError(
            f'autoencoder="{folder}" is a trained diffusion; give the run folder of stage 1, '
            "of `dabfusion train autoencoder`."
        )
    if (folder / "manifest.json").is_file():
        raise SettingsError(
            f'autoencoder="{folder}" is a run without exported networks: it has not finished, '
            "or is not of stage 1; finish it with resume=auto."
        )
    raise SettingsError(
        f'autoencoder="{folder}" holds no trained stage 1 (autoencoder.safetensors); give the run '
        "folder of `dabfusion train autoencoder`."
    )
