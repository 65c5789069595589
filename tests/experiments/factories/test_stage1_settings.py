"""Stage 1's settings: what they refuse, and that there is a region for each body part."""

import pytest

from experiments.config.load import load_settings
from experiments.config.stage1 import BODY_PARTS
from experiments.errors import SettingsError
from lightning_modules.joints import PARTS


def test_there_is_a_region_for_each_body_part() -> None:
    assert len(PARTS) == BODY_PARTS


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["stage1.network.kernel=4"], "stage1.network.kernel"),
        (["stage1.network.regions=0"], "stage1.network.regions"),
        (["stage1.network.temperature=0.0"], "stage1.network.temperature"),
        (["stage1.loss.ssim=-1.0"], "stage1.loss.ssim"),
        (["stage1.train.steps=0"], "stage1.train.steps"),
        (["stage1.train.learning_rate=0.0"], "stage1.train.learning_rate"),
        (["stage1.train.beta1=1"], "stage1.train.beta1"),
        (["stage1.train.freeze=[decoder]"], "stage1.train.freeze contains 'decoder'"),
        (["stage1.train.region_steps=5"], "stage1.train.region_steps is 5.*stage1.loss.joints"),
        (["stage1.network.regions=4", "stage1.loss.joints=1"], "stage1.network.regions is 4"),
    ],
)
def test_impossible_values_are_refused_by_name(words: list[str], name: str) -> None:
    with pytest.raises(SettingsError, match=name) as error:
        load_settings(None, words)
    assert "\n" not in str(error.value)


def test_a_loss_without_effect_is_said_in_one_sentence() -> None:
    (without,) = load_settings("aist128", []).notices("autoencoder")
    assert "without the published perceptual loss" in without
    assert "stage1.loss.perceptual=10 has no effect" in without
    given = load_settings("aist128", ["stage1.loss.vgg_weights=vgg19.pth", "stage1.loss.ssim=0"])
    (replaced,) = given.notices("autoencoder")
    assert "pixels=1, warped=0.5, gradient=1, raw=2 of stage1.loss have no effect" in replaced
    assert load_settings(None, ["stage1.loss.perceptual=0"]).notices("autoencoder") == []
    assert given.notices("diffusion") == []
