"""Settings: what fills them, and the sentences for what cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from experiments.config.load import (
    PRESETS,
    all_settings,
    from_dict,
    load_settings,
    preset_names,
    settings_from_words,
    to_dict,
)
from experiments.errors import SettingsError


def test_command_line_wins_over_preset_wins_over_defaults(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("seed: 5\nrun:\n  log_every: 7\n  precision: 32\n", encoding="utf-8")
    settings = load_settings(str(preset), ["run.log_every=9", "out=a b: c"])
    assert (settings.seed, settings.run.log_every, settings.run.samples) == (5, 9, 4)
    assert settings.run.precision == "32"
    assert settings.out == "a b: c"  # text is taken as it stands, not read as YAML
    assert settings.preset == str(preset)


def test_words_may_name_the_preset_anywhere(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("seed: 5\n", encoding="utf-8")
    assert settings_from_words(["run.samples=0", f"preset={preset}"]).seed == 5


def test_the_home_folder_may_be_written_short() -> None:
    settings = load_settings(None, ["data=~/aist", "clips.split_files=~/splits", "out=a~/b"])
    assert settings.data == str(Path.home() / "aist")
    assert settings.clips.split_files == str(Path.home() / "splits")
    assert settings.out == "a~/b"


def test_settings_survive_yaml_unchanged() -> None:
    settings = load_settings(None, ["seed=3", "stage1.train.sizes=[64,128]"])
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(settings)))) == settings


def test_every_setting_has_a_docstring() -> None:
    bare = [setting.name for setting in all_settings().values() if not setting.doc]
    assert bare == []


def test_every_default_is_of_its_own_type() -> None:
    assert from_dict(to_dict(load_settings(None, []))) == load_settings(None, [])


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_say_what_they_cost(name: str) -> None:
    load_settings(name, [])
    header = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    for word in ("# Command:", "# Cost:", "# Score:"):
        assert word in header


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("sed=1", "the nearest is seed"),
        ("wandb=off", "the nearest is run.wandb"),
        ("run.wand=off", "the nearest is run.wandb"),
        ("stage1.train.lerning_rate=1", "stage1.train.learning_rate"),
        ("stage2.train.lerning_rate=1", "stage2.train.learning_rate"),
        ("stage2.train.step=1", "stage2.train.steps"),
        ("run.wandb=ofline", "the nearest is offline"),
        ("run.accelerator=gpus", "the nearest is gpu"),
        ("run=3", "group of settings"),
        ("run.devices=two", "whole number"),
        ("run.devices=1.5", "whole number"),
        ("run.devices=[1", "whole number"),
        ("run.devices=", "whole number"),
        ("clips.mirror=perhaps", "true | false"),
        ("run.explode_factor=nan", "finite"),
        ("stage1.train.sizes=64", "list of whole number"),
        ("seed", "key=value"),
        ("=3", "no setting"),
        ("seed=-1", "between 0 and"),
        ("run.log_every=0", "at least 1"),
        ("sampling.steps=2000", "only 1000 noise levels"),
        ("run.explode_factor=0.5", "above 1"),
        ("out=${nothing}", "nothing"),
    ],
)
def test_a_bad_word_is_one_sentence(word: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, [word])
    sentence = str(caught.value)
    assert expected in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sed: 1", "the nearest is seed"),
        ("run: 3", "run is a group"),
        ("run:\n  wandb: offlin", "the nearest is offline"),
        ("- seed", "holds no settings"),
        ("seed: [1", "not readable YAML"),
        ("1: 2", 'no setting "1"'),
        ("seed: !!python/object/apply:os.system ['touch executed']", "not readable YAML"),
    ],
)
def test_a_bad_file_is_one_sentence(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(str(path), [])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("executed").exists()


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="quickstart"):
        load_settings("quikstart", [])
