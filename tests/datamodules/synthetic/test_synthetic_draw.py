"""The painter leaves the room as it found it, however wide the figure is."""

import numpy as np

from datamodules.synthetic.clip import DanceSpec, Scene
from datamodules.synthetic.draw import paint_frames


def test_a_figure_as_wide_as_the_picture_leaves_no_trace() -> None:
    scene = Scene(DanceSpec(name="gBR_sBM_c01_d04_mBR0_ch01", size=32, seconds=2.0))
    # A room narrower than the figure: its box then spans whole rows.
    narrow = np.full((32, 12, 3), 200, dtype=np.uint8)
    frames = paint_frames(scene.figure, narrow, scene.cameras, scene.shadows(), 1)
    assert (frames != 200).any()
    assert (narrow == 200).all()
