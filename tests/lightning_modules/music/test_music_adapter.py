"""Adapters over frozen embeddings: their loss by hand, learning styles, standing before stage 2."""

import pytest
import torch

from datamodules.batch import ClipBatch
from lightning_modules.music.adapter import AdapterLoss, MusicAdapterModule, contrastive_loss
from lightning_modules.networks.music import MusicConditioner
from lightning_modules.networks.music_adapter import FeatureAdapter, MusicAdapters
from lightning_modules.options.music import AdapterOptions

STYLES = 3


def adapters() -> MusicAdapters:
    torch.manual_seed(0)
    return MusicAdapters({"clap": 512, "spectral": 44}, ["BR", "HO", "PO"], width=32, projection=8)


def awake(network: torch.nn.Module) -> None:
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)


def test_the_contrastive_loss_is_that_of_the_paper_across_pieces() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(7, 5, generator=generator), dim=1)
    styles = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    pieces = torch.tensor([0, 0, 1, 2, 3, 4, 4])
    each = []
    for i in range(7):
        others = [j for j in range(7) if pieces[j] != pieces[i]]
        same = [j for j in others if styles[j] == styles[i]]
        if same:  # clips 5 and 6 are the only ones of their style, and of one piece
            total = sum(torch.exp(directions[i] @ directions[j] / 0.2) for j in others)
            shares = [torch.exp(directions[i] @ directions[j] / 0.2) / total for j in same]
            each.append(-torch.stack(shares).log().mean())
    assert len(each) == 5
    found = contrastive_loss(directions, styles, pieces, 0.2)
    torch.testing.assert_close(found, torch.stack(each).mean())
    alone = contrastive_loss(directions[5:], styles[5:], pieces[5:], 0.2)
    assert alone == 0


def test_an_adapter_begins_as_the_identity_and_keeps_frames_apart() -> None:
    adapter = FeatureAdapter(12, 8)
    features = torch.randn(2, 5, 12)
    assert torch.equal(adapter(features), features)
    awake(adapter)
    moved = features.clone()
    moved[:, 3] += 1.0
    changed = (adapter(moved) - adapter(features)).abs().amax((0, 2)) > 0
    assert changed.tolist() == [False, False, False, True, False]


def test_saving_keeps_every_bit(tmp_path) -> None:
    first = adapters()
    awake(first)
    first.save_pretrained(tmp_path)
    again = MusicAdapters.from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
    music = {"clap": torch.randn(4, 512), "spectral": torch.rand(4, 6, 44)}
    one, other = first.eval()(music), again(music)
    assert again.config["classes"] == ["BR", "HO", "PO"]
    for name in ("clap", "spectral"):
        assert torch.equal(one[name].logits, other[name].logits)
        assert torch.equal(one[name].direction, other[name].direction)


def batch(pieces: range, seed: int) -> ClipBatch:
    """Clips whose embedding holds a faint trace of the style and a loud one of the piece."""
    generator = torch.Generator().manual_seed(7)
    of_style = torch.randn(STYLES, 512, generator=generator)
    of_piece = torch.randn(60, 512, generator=generator)
    generator = torch.Generator().manual_seed(seed)
    numbers = [piece for piece in pieces for _ in range(4)]
    noise = torch.randn(len(numbers), 512, generator=generator)
    styles = torch.tensor([piece % STYLES for piece in numbers])
    music = 0.5 * of_style[styles] + 1.5 * of_piece[numbers] + 0.5 * noise
    return ClipBatch(
        clip_ids=[f"piece{piece}@{row}" for row, piece in enumerate(numbers)],
        music_ids=[f"piece{piece}" for piece in numbers],
        fps=10.0,
        index=torch.arange(len(numbers)),
        beats=torch.zeros(len(numbers), 0),
        beat_features=torch.zeros(len(numbers), 4, 7),
        music={"clap": music / 30},
    )


@pytest.mark.parametrize("contrastive", [0.0, 1.0])
def test_styles_are_learnt_and_known_of_new_music(contrastive: float) -> None:
    torch.manual_seed(0)
    network = MusicAdapters({"clap": 512}, ["a", "b", "c"], width=64, projection=16)
    module = MusicAdapterModule(
        network,
        {f"piece{piece}": piece % STYLES for piece in range(60)},
        loss=AdapterLoss(contrastive),
        optimizer=AdapterOptions(learning_rate=2e-3, steps=60),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    network.train()
    before = torch.stack(list(module._compare(batch(range(45), 1))[0].values())).mean()
    for step in range(60):
        losses, _ = module._compare(batch(range(45), step))
        loss = torch.stack(list(losses.values())).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.5 * before
    network.eval()
    losses, accuracies = module._compare(batch(range(45, 60), 99))
    assert accuracies["clap"] > 0.7


def test_stage_two_hears_through_trained_adapters_and_leaves_them_alone(tmp_path) -> None:
    trained = adapters()
    awake(trained)
    torch.manual_seed(1)
    parts = {"dim": 16, "beats": "none", "clap": True, "wav2clip": False, "spectral": True}
    conditioner = MusicConditioner(**parts, frames=6, adapted={"clap": 32, "spectral": 32})
    conditioner.take_adapters(trained)
    torch.manual_seed(1)
    plain = MusicConditioner(**parts, frames=6)
    beats = torch.zeros(2, 6, 7)
    music = {"clap": torch.randn(2, 512), "spectral": torch.rand(2, 6, 44)}
    adapted = {name: trained.adapters[name](value) for name, value in music.items()}
    found = conditioner(beats, music).clip
    torch.testing.assert_close(found, plain(beats, adapted).clip)
    assert (found - plain(beats, music).clip).abs().max() > 1e-3
    frozen = [name for name, p in conditioner.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(name.startswith("adapters.") for name in frozen)
    conditioner.save_pretrained(tmp_path)
    again = MusicConditioner.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    assert torch.equal(again(beats, music).clip, found)
