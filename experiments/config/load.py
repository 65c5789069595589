"""Every setting in one tree, and how presets and the command line fill it.

Two hops: a YAML preset and `key=value` words go into the dataclasses below (checked in their
`__post_init__`), and `experiments.build` passes their fields on as explicit arguments. Defaults
stand in the dataclasses and are the published values; a preset holds only what differs.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config.adapter import AdapterSettings
from experiments.config.clips import ClipSettings
from experiments.config.music import MusicSettings
from experiments.config.run import RunSettings
from experiments.config.sampling import SamplingSettings
from experiments.config.schema import Setting, list_settings, nearest_settings
from experiments.config.stage1 import Stage1Settings
from experiments.config.stage2 import Stage2Settings
from experiments.config.synthetic import SyntheticSettings
from experiments.errors import SettingsError, one_sentence

PRESETS = Path(__file__).parents[1] / "presets"


@dataclass
class Settings:
    """The whole tree, as `config.yaml` of a run folder holds it."""

    preset: str = ""
    """Name of the preset that was loaded (see `dabfusion settings --presets`), or the path of a
    YAML file with settings; empty for the defaults alone."""
    seed: int = 0
    """Decides weights, order of clips, noise and dropped conditions: equal seeds, equal runs."""
    data: str = ""
    """Folder that `dabfusion prepare` wrote."""
    autoencoder: str = ""
    """Run or export folder of stage 1, which stage 2 builds on."""
    out: str = ""
    """Run folder to write; empty means `runs/STAGE-PRESET` in the working directory."""
    resume: Literal["never", "auto", "always"] = "never"
    """What to do with a run that is already in `out`: never is to refuse, auto is to go on with
    it, or to start where there is none, and always is to insist that there is one."""
    synthetic: SyntheticSettings = field(default_factory=SyntheticSettings)
    """Rendered dancers and music."""
    clips: ClipSettings = field(default_factory=ClipSettings)
    """How videos become clips: rate, size, length, beats, augmentation, loading."""
    stage1: Stage1Settings = field(default_factory=Stage1Settings)
    """The latent-flow auto-encoder: network, losses, training."""
    stage2: Stage2Settings = field(default_factory=Stage2Settings)
    """The diffusion over latent flow: network, loss, schedule, training."""
    music: MusicSettings = field(default_factory=MusicSettings)
    """What stage 2 knows of the music."""
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    """Adapters over the music features, taught genres before stage 2 (`train music-adapter`)."""
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    """How videos are drawn from a trained stage 2."""
    run: RunSettings = field(default_factory=RunSettings)
    """Hardware, cadence, Weights & Biases."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}, but must lie between 0 and 2147483647.")
        most = self.stage2.scheduler.timesteps
        if self.sampling.steps > most:
            raise ValueError(
                f"sampling.steps is {self.sampling.steps}, but there are only {most} times of "
                "noise (stage2.scheduler.timesteps)."
            )


@cache
def all_settings() -> dict[str, Setting]:
    """Every setting of the tree by its dotted name, in the order of the source."""
    return {setting.name: setting for setting in list_settings(Settings)}


def preset_names() -> list[str]:
    """The presets that come with the package, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_settings(preset: str | None, overrides: list[str]) -> Settings:
    """Defaults, then the preset, then the words of the command line, checked.

    Args:
        preset: A name under `presets/`, the path of a YAML file, or None for the defaults.
        overrides: `key=value` with dotted keys; lists as `[1,2,3]`, nothing as `null`.

    Raises:
        SettingsError: In one sentence, with the nearest name or choice there is.
    """
    tree = OmegaConf.structured(Settings)
    if preset:
        tree = _merge(tree, read_yaml(_preset_path(preset)), f'The preset "{preset}"')
        tree.preset = preset
    for word in overrides:
        key, value = _split(word)
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        tree = _merge(tree, nested, f'"{word}"')
    return _to_settings(tree)


def settings_from_words(words: list[str]) -> Settings:
    """`load_settings` of a command line's `key=value` words, `preset=NAME` among them."""
    presets = [word.partition("=")[2] for word in words if word.startswith("preset=")]
    others = [word for word in words if not word.startswith("preset=")]
    return load_settings(presets[-1] if presets else None, others)


def from_dict(values: dict[str, Any], source: str = "The settings") -> Settings:
    """Settings from nested plain values, as `to_dict` or a run's `config.yaml` holds them.

    Args:
        values: Missing ones take their defaults; unknown ones are refused.
        source: What to call them in an error's sentence.
    """
    return _to_settings(_merge(OmegaConf.structured(Settings), values, source))


def to_dict(settings: Settings) -> dict[str, Any]:
    """Nested plain values, ready for YAML or JSON."""
    return asdict(settings)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, read with the safe loader.

    Raises:
        SettingsError: If the file is no YAML or holds no mapping.
        FileNotFoundError: If there is no such file.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f", line {line + 1}"
        raise SettingsError(f'"{path}"{where} is no readable YAML.') from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingsError(
            f'"{path}" holds no settings: a YAML file of "name: value" is expected.'
        )
    return values


def _preset_path(preset: str) -> Path:
    if preset.endswith((".yaml", ".yml")):
        return Path(preset)
    names = preset_names()
    if preset not in names:
        close = difflib.get_close_matches(preset, names, n=1, cutoff=0.0)
        near = f"the nearest is {close[0]}; " if close else ""
        raise SettingsError(
            f'There is no preset "{preset}"; {near}there are {", ".join(names)}, '
            "and the path of a YAML file may be given."
        )
    return PRESETS / f"{preset}.yaml"


def _split(word: str) -> tuple[str, Any]:
    key, equals, raw = word.partition("=")
    known = all_settings()
    if not equals:
        near = nearest_settings(key, list(known))[0]
        raise SettingsError(f'"{word}" is no setting: they are given as key=value, as {near}=...')
    if key not in known:
        raise SettingsError(_unknown(key, list(known)))
    if known[key].text:
        # Shells expand a leading ~ of a word, but few one behind "key=".
        return key, str(Path(raw).expanduser()) if raw.startswith("~/") else raw
    try:
        return key, yaml.safe_load(raw)
    except yaml.YAMLError as error:
        expected = known[key].type_text
        raise SettingsError(f'{key} cannot be "{raw}"; it is a {expected}.') from error


def _merge(tree: DictConfig, values: dict[str, Any], source: str) -> DictConfig:
    known = all_settings()
    values = _with_known_names(values, "", known, source)
    try:
        merged = OmegaConf.merge(tree, OmegaConf.create(values))
    except (OmegaConfBaseException, ValueError) as error:
        raise SettingsError(_bad_value(error, values, known, source)) from error
    assert isinstance(merged, DictConfig)
    return merged


def _with_known_names(
    values: dict[str, Any], prefix: str, known: dict[str, Setting], source: str
) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        inner = [other for other in known if other.startswith(f"{name}.")]
        if name not in known and not inner:
            raise SettingsError(f"{source} cannot be used: {_unknown(name, list(known))}")
        if inner and not isinstance(value, dict):
            raise SettingsError(f"{source} cannot be used: {name} is a group, as in {inner[0]}=...")
        if inner:
            checked[key] = _with_known_names(value, f"{name}.", known, source)
        elif known[name].choices and isinstance(value, int) and not isinstance(value, bool):
            checked[key] = str(value)  # `precision: 32` in a file is a number to YAML
        else:
            checked[key] = value
    return checked


def _unknown(name: str, known: list[str]) -> str:
    inner = [other for other in known if other.startswith(f"{name}.")]
    if inner:
        return f"{name} is a group of settings; give one of them, as {inner[0]}=..."
    near = " or ".join(nearest_settings(name, known))
    return f'There is no setting "{name}"; the nearest is {near}.'


def _bad_value(error: Exception, values: Any, known: dict[str, Setting], source: str) -> str:
    name = str(getattr(error, "full_key", "") or "").split("[")[0]
    setting = known.get(name)
    if setting is None:
        return f"{source} cannot be used: {one_sentence(str(error).splitlines()[0])}"
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else values
    if setting.choices:
        near = difflib.get_close_matches(str(values), setting.choices, n=1, cutoff=0.0)[0]
        choices = ", ".join(setting.choices)
        return f'{name} cannot be "{values}"; it is one of {choices}, and the nearest is {near}.'
    return f'{name} cannot be "{values}"; it is a {setting.type_text}, as {setting.default!r}.'


def _to_settings(tree: DictConfig) -> Settings:
    try:
        settings = OmegaConf.to_object(tree)
    except OmegaConfBaseException as error:
        raise SettingsError(one_sentence(str(error).splitlines()[0])) from error
    except ValueError as error:
        raise SettingsError(one_sentence(str(error))) from error
    assert isinstance(settings, Settings)
    _check_finite(settings, "")
    return settings


def _check_finite(node: Any, prefix: str) -> None:
    for f in fields(node):
        value, name = getattr(node, f.name), f"{prefix}{f.name}"
        if is_dataclass(value):
            _check_finite(value, f"{name}.")
        elif any(isinstance(v, float) and not math.isfinite(v) for v in _flat(value)):
            raise SettingsError(f"{name} is {value}, but must be finite.")


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
