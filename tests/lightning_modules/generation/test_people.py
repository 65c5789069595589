"""Anyone: cut out, scaled, set on the training data's floor; found by a network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from datamodules.errors import DataError
from lightning_modules.errors import CheckpointError
from lightning_modules.generation.files import PipelineSettings, read_scene, write_scene
from lightning_modules.generation.inputs import reference_image
from lightning_modules.generation.people import Scene, person_box, place_person
from lightning_modules.generation.segmentation import (
    PersonSegmenter,
    largest_component,
    load_segmenter,
)
from lightning_modules.pipeline import DanceRequest

SETTINGS = PipelineSettings(size=64)


def photo() -> tuple[torch.Tensor, torch.Tensor]:
    """A red person of 30 x 100 pixels, white shoes, in a green room; and her mask."""
    image = torch.zeros(3, 150, 90, dtype=torch.uint8)
    image[1] = 200
    mask = torch.zeros(150, 90)
    mask[20:120, 40:70] = 1
    image[:, mask > 0] = torch.tensor([220, 10, 10], dtype=torch.uint8)[:, None]
    image[:, 110:120, 40:70] = 255
    return image, mask


def scene(height: float = 0.5) -> Scene:
    background = torch.zeros(3, 64, 64, dtype=torch.uint8)
    background[2] = 150
    return Scene(background, height, feet=0.9, center=0.5)


def test_the_person_stands_as_tall_as_the_dancers_on_their_floor() -> None:
    image, mask = photo()
    placed = place_person(image, mask, scene())
    changed = (placed != scene().background).any(0)
    top, bottom, left, right = person_box(changed.float())
    assert bottom == round(0.9 * 64)
    assert bottom - top == 32
    assert right - left == round(32 * 0.3)
    assert (left + right) / 2 == pytest.approx(32, abs=1)
    assert placed[:, bottom - 2, 32].tolist() == [255, 255, 255]
    assert placed[1].max() == 255  # the shoes
    body = placed[:, : bottom - 6]
    red = (body[0] > 100) & (body[2] < 100)
    assert body[1][red].max() < 30  # nothing of the green room at the edge


def test_soft_edges_mix_with_the_new_background_alone() -> None:
    image, mask = photo()
    placed = place_person(image, mask * 0.75, scene())
    inside = placed[:, 45, 32].float()
    expected = 0.75 * torch.tensor([220.0, 10, 10]) + 0.25 * torch.tensor([0.0, 0, 150])
    torch.testing.assert_close(inside, expected, rtol=0, atol=1.0)


def test_who_is_wider_than_the_scene_is_made_smaller() -> None:
    image, mask = photo()
    placed = place_person(image.transpose(1, 2), mask.T, scene(0.9))
    changed = (placed != scene().background).any(0)
    assert changed.any(0).all()
    assert changed.any(1).sum() == round(0.3 * 64)


def test_a_mask_that_does_not_fit_is_refused() -> None:
    image, mask = photo()
    with pytest.raises(ValueError, match="90 x 149 pixels"):
        place_person(image, mask[1:], scene())
    with pytest.raises(ValueError, match="shows no person"):
        place_person(image, mask * 0.2, scene())
    with pytest.raises(ValueError, match="share"):
        scene(1.5)


def test_mask_alpha_and_segmenter_cut_the_same_person_out(tmp_path: Path) -> None:
    image, mask = photo()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    Image.fromarray((mask * 255).byte().numpy()).save(tmp_path / "mask.png")
    rgba = np.dstack([image.permute(1, 2, 0).numpy(), (mask * 255).byte().numpy()])
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    silence = np.zeros(8)
    photo_path, expected = tmp_path / "photo.png", place_person(image, mask, scene())
    for request in (
        DanceRequest(photo_path, silence, mask=tmp_path / "mask.png"),
        DanceRequest(photo_path, silence, mask=mask),
        DanceRequest(image, silence, mask=Image.open(tmp_path / "mask.png")),
        DanceRequest(tmp_path / "cut.png", silence),
        DanceRequest(Image.open(tmp_path / "cut.png"), silence),
    ):
        assert torch.equal(reference_image(request, SETTINGS, scene(), None), expected)
    plain = DanceRequest(photo_path, silence)
    found = reference_image(plain, SETTINGS, scene(), lambda seen: (seen[0] > 210).float())
    assert torch.equal(found, expected)
    whole = reference_image(plain, SETTINGS, scene(), None)
    assert whole[:, :, 0].max() == 0  # letterboxed, as in training
    assert whole[1, 0, 32] == 200


@pytest.mark.parametrize("alpha", [255, 254, 0])
def test_an_opaque_alpha_channel_is_left_to_the_segmenter(tmp_path: Path, alpha: int) -> None:
    image, mask = photo()
    rgba = np.dstack([image.permute(1, 2, 0).numpy(), np.full(mask.shape, 255, np.uint8)])
    rgba[:2, :2, 3] = alpha
    Image.fromarray(rgba).save(tmp_path / "screenshot.png")
    Image.fromarray((mask * 255).byte().numpy()).convert("RGBA").save(tmp_path / "mask.png")
    request = DanceRequest(tmp_path / "screenshot.png", np.zeros(8))
    whole = reference_image(request, SETTINGS, scene(), None)
    assert whole[:, :, 0].max() == 0  # letterboxed, not placed in the scene
    found = reference_image(request, SETTINGS, scene(), lambda seen: (seen[0] > 210).float())
    expected = place_person(image, mask, scene())
    if alpha == 255:
        assert torch.equal(found, expected)
    masked = replace(request, mask=tmp_path / "mask.png")
    assert torch.equal(reference_image(masked, SETTINGS, scene(), None), expected)


def test_backgrounds_and_heights_of_ones_own(tmp_path: Path) -> None:
    image, mask = photo()
    wall = torch.full((3, 32, 32), 77, dtype=torch.uint8)
    request = DanceRequest(image, np.zeros(8), mask=mask, background=wall, person_height=0.75)
    placed = reference_image(request, SETTINGS, None, None)
    assert (placed[:, 0] == 77).all()
    assert (placed != 77).any(0).any(1).sum() == 48
    over = reference_image(request, SETTINGS, scene(), None)
    assert (over != 77).any(0).any(1).nonzero().max() + 1 == round(0.9 * 64)
    with pytest.raises(ValueError, match="has no scene"):
        reference_image(DanceRequest(image, np.zeros(8), mask=mask), SETTINGS, None, None)
    nothing = DanceRequest(image, np.zeros(8), background=wall)
    with pytest.raises(ValueError, match=r"--mask PNG.*--segmenter FOLDER"):
        reference_image(nothing, SETTINGS, scene(), None)
    for wrong, sentence in (({"mask": mask[1:]}, "90 x 149"), ({"person_height": 2.0}, "share")):
        request = replace(DanceRequest(image, np.zeros(8), mask=mask), **wrong)
        with pytest.raises(DataError, match=sentence):  # which the command line shows as it is
            reference_image(request, SETTINGS, scene(), None)


def test_a_scene_is_kept_with_the_pipeline(tmp_path: Path) -> None:
    assert read_scene(tmp_path) is None
    write_scene(tmp_path, scene(0.4))
    again = read_scene(tmp_path)
    assert again is not None
    assert torch.equal(again.background, scene().background)
    assert (again.height, again.feet, again.center) == (0.4, 0.9, 0.5)
    (tmp_path / "scene" / "background.png").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="damaged"):
        read_scene(tmp_path)


@pytest.fixture(scope="module")
def segformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    labels = {0: "wall", 1: "person", 2: "floor"}
    config = SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        decoder_hidden_size=16,
        id2label=labels,
        label2id={name: number for number, name in labels.items()},
    )
    folder = tmp_path_factory.mktemp("segformer")
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 64, "width": 48}}')
    return folder


def test_a_folder_of_hugging_face_gives_the_networks_own_mask(segformer: Path) -> None:
    segmenter = load_segmenter(segformer)
    assert (segmenter.person, segmenter.size) == (1, (64, 48))
    network = SegformerForSemanticSegmentation.from_pretrained(segformer).eval()
    with torch.no_grad():  # a bias that makes everybody a person, as no training has
        for owner in (network, segmenter.network):
            owner.decode_head.classifier.bias.copy_(torch.tensor([0.0, 3.0, 0.0]))
    image, _ = photo()
    seen = torch.nn.functional.interpolate(
        image[None].float() / 255, (64, 48), mode="bilinear", antialias=True
    )
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        logits = network((seen - mean[:, None, None]) / std[:, None, None]).logits
    wide = torch.nn.functional.interpolate(logits, (150, 90), mode="bilinear")
    expected = wide.softmax(1)[0, 1]
    assert expected.min() > 0.5
    torch.testing.assert_close(segmenter(image), expected, rtol=0, atol=1e-5)


def test_only_the_largest_person_is_kept() -> None:
    mask = torch.zeros(30, 40)
    mask[5:25, 5:15] = 0.9
    mask[5:10, 30:35] = 0.8
    mask[0, 0] = 0.3  # a soft edge is no piece
    kept = largest_component(mask)
    assert kept[6, 31] == 0
    assert torch.equal(kept[:, :20], mask[:, :20])


def test_models_that_cannot_find_persons_are_refused(segformer: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_segmenter(tmp_path)
    network = SegformerForSemanticSegmentation.from_pretrained(segformer)
    network.config.id2label = {0: "cat", 1: "dog", 2: "cow"}
    network.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match='"person"'):
        load_segmenter(tmp_path)
    assert isinstance(load_segmenter(segformer), PersonSegmenter)
