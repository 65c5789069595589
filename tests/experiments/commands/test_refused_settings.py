"""Settings that cannot be: one sentence, status 2, nothing executed."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusals import refused

WORDS = [
    # unknown keys
    ("sede=1", "nearest is seed"),
    ("dat=x", "nearest is data"),
    ("auto_encoder=x", "nearest is autoencoder"),
    ("learning_rate=1", "stage1.train.learning_rate"),
    ("stage1.learning_rate=1", "stage1.train.learning_rate"),
    ("stage1.train.lr=1", "no setting"),
    ("stage2.train.batchsize=1", "stage2.train.batch_size"),
    ("stage2.netwrok.width=8", "stage2.network.width"),
    ("stage3.train.steps=1", "train.steps"),
    ("clip.frames=4", "clips.frames"),
    ("clips.frame=4", "clips.frames"),
    ("music.beat=frame", "music.beats"),
    ("sampling.step=4", "sampling.steps"),
    ("run.device=2", "run.devices"),
    ("run.wandb.mode=off", "no setting"),
    ("synthetic.size.x=1", "no setting"),
    # no settings at all
    ("quickstart", "key=value"),
    ("=1", "no setting"),
    ("seed", "seed=..."),
    ("run", "key=value"),
    ("run=fast", "group of settings"),
    ("stage1.train=10", "group of settings"),
    # values of the wrong type
    ("seed=one", "whole number"),
    ("seed=1.5", "whole number"),
    ("seed=", "whole number"),
    ("seed=[1]", "whole number"),
    ("seed={a: 1}", "whole number"),
    ("seed=[", "whole number"),
    ("stage1.train.steps=1e3.5", "whole number"),
    ("stage1.train.learning_rate=fast", "number"),
    ("stage1.train.learning_rate=nan", "finite"),
    ("stage1.train.learning_rate=inf", "finite"),
    ("stage1.train.sizes=64", "list of whole number"),
    ("stage1.train.sizes=[a]", "list of whole number"),
    ("clips.mirror=maybe", "true | false"),
    ("clips.mirror=often", "true | false"),
    ("clips.speeds=[fast]", "list of number"),
    ("out=${nothing}", "nothing"),
    # values that are not among the choices
    ("run.wandb=offlin", "nearest is offline"),
    ("run.accelerator=cuda", "one of auto, cpu, gpu"),
    ("run.precision=16", "nearest is 16-mixed"),
    ("resume=yes", "one of never, auto, always"),
    ("clips.fit=stretch", "letterbox"),
    ("clips.split=random", "crossmodal"),
    ("stage1.network.norm=layer", "batch"),
    ("stage2.network.prediction=noise", "epsilon"),
    ("music.beats=beat", "frame"),
    ("sampling.solver=euler", "dpm++"),
    # values out of range
    ("seed=-1", "between 0"),
    ("seed=99999999999", "between 0"),
    ("run.log_every=0", "at least 1"),
    ("run.devices=-1", "at least 0"),
    ("run.nodes=0", "at least 1"),
    ("run.samples=-3", "at least 0"),
    ("run.explode_factor=0.5", "above 1"),
    ("run.rank_timeout_s=0", "at least 5"),
    ("stage1.train.steps=0", "at least 1"),
    ("stage1.train.batch_size=-2", "at least 1"),
    ("stage1.train.learning_rate=0", "above 0"),
    ("stage1.network.kernel=4", "odd"),
    ("stage1.loss.pixels=-1", "at least 0"),
    ("stage2.train.steps=0", "at least 1"),
    ("stage2.loss.drop_music=2", "between 0 and 1"),
    ("clips.frames=1", "between 2"),
    ("clips.size=33", "even"),
    ("clips.speeds=[9]", "between 0.25 and 4"),
    ("synthetic.fps=0", "between 1"),
    ("sampling.steps=0", "1"),
    # presets
    ("preset=quikstart", "nearest is quickstart"),
    ("preset=nowhere.yaml", "no file"),
    ("preset=/", "no preset"),
]

FILES = {
    "unknown key": ("sed: 1", "nearest is seed"),
    "unknown group": ("stage9:\n  x: 1", "no setting"),
    "wrong type": ("seed: [1]", "whole number"),
    "a list": ("- seed", "holds no settings"),
    "a number": ("3", "holds no settings"),
    "broken": ("seed: [1", "line"),
    "tabs": ("run:\n\tsamples: 1", "line 2"),
    "code": ("seed: !!python/object/apply:os.system ['touch executed']", "not readable YAML"),
    "numbers for keys": ("1: 2", 'no setting "1"'),
    "a group as a value": ("run: fast", "group"),
}


@pytest.mark.parametrize(("word", "expected"), WORDS)
def test_words(word: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, ["train", "autoencoder", word], expected)


@pytest.mark.parametrize("name", FILES)
def test_files_of_settings(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, expected = FILES[name]
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    refused(capsys, ["train", "autoencoder", f"preset={path}"], expected)
