"""Stage 1's settings: what they refuse, and that the parts of the body match the regions."""

import pytest

from experiments.config.stage1 import (
    BODY_PARTS,
    Stage1LossSettings,
    Stage1NetworkSettings,
    Stage1Settings,
    Stage1TrainSettings,
)
from lightning_modules.joints import PARTS


def test_there_is_a_region_for_each_part_of_the_body() -> None:
    assert len(PARTS) == BODY_PARTS


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Stage1NetworkSettings(kernel=4), "stage1.network.kernel"),
        (lambda: Stage1NetworkSettings(regions=0), "stage1.network.regions"),
        (lambda: Stage1NetworkSettings(temperature=0.0), "temperature"),
        (lambda: Stage1LossSettings(ssim=-1.0), "stage1.loss.ssim"),
        (lambda: Stage1TrainSettings(steps=0), "stage1.train.steps"),
        (lambda: Stage1TrainSettings(learning_rate=0.0), "stage1.train.learning_rate"),
        (lambda: Stage1TrainSettings(freeze=["decoder"]), "decoder"),
        (lambda: Stage1Settings(train=Stage1TrainSettings(region_steps=5)), "stage1.loss.joints"),
        (
            lambda: Stage1Settings(
                network=Stage1NetworkSettings(regions=4), loss=Stage1LossSettings(joints=1.0)
            ),
            "stage1.network.regions",
        ),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(make: object, name: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=name) as error:
        make()
    assert "\n" not in str(error.value)
