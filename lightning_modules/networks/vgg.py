"""The feature layers of VGG-19 (Simonyan and Zisserman, 2015) that the perceptual loss compares."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Output channels of each 3 x 3 convolution up to relu5_1; "M" is 2 x 2 maximum pooling.
_LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512)
#: Indices in `features` of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.
_TAPS = (1, 6, 11, 20, 29)


class VGG19Pyramid(nn.Module):
    """Map images (N, 3, H, W) in [0, 1] to five feature maps: relu1_1, 2_1, 3_1, 4_1 and 5_1.

    Layers are numbered as in torchvision's `vgg19().features`, so that its weights load by name.
    Until they are loaded, weights are random.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for layer in _LAYERS:
            if isinstance(layer, int):
                layers += [nn.Conv2d(channels, layer, 3, padding=1), nn.ReLU()]
                channels = layer
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        # Mean and standard deviation of ImageNet's colors, as in the training of the weights.
        mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
        deviation = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = (images - self.mean) / self.deviation
        maps = []
        # Maps of 64, 128, 256, 512 and 512 channels at 1, 1/2, 1/4, 1/8 and 1/16 of the resolution.
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in _TAPS:
                maps.append(x)
        return maps
