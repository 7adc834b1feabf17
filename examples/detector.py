"""A detector in four sizes, from encoded image to boxes: the table of YOLOv5, in form.

gpubench run --model examples/detector.py:detector_s --batch 1
gpubench sweep examples/detector.yaml --allow-code --output results/detector
gpubench report results/detector

The network has the layers that are published for YOLOv5 (release 6.0), written with the blocks of
torchvision: a backbone of cross-stage partial blocks, a pyramid of features in both directions, and
three heads. So it has YOLOv5's number of parameters and of operations, in the four sizes s, m, l
and x. The weights are random, and the images are noise. So its times say what such a network costs
here, and nothing about what it detects. They are not YOLOv5's figures, which
examples/published_study.py has.

Three stages are timed: preprocessing decodes the JPEG files, the network computes boxes, and
postprocessing removes boxes that overlap a better one (non-maximum suppression). The time of the
suppression depends on the number of boxes that it compares. A trained network decides that; here it
is the constant CANDIDATES.
"""

from __future__ import annotations

from io import BytesIO

import torch
from PIL import Image
from torch import nn
from torchvision.ops import Conv2dNormActivation, batched_nms, box_convert
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

import gpubench

SIZE = 640  # pixels
CLASSES = 80
CANDIDATES = 300  # boxes of an image with the highest scores; only these are compared for overlap
OVERLAP = 0.45  # intersection over union, above which the worse box is removed

STRIDES = (8, 16, 32)  # pixels of a cell, for each head
ANCHORS = (  # width and height in pixels of the boxes that each head adapts
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


def detector_s() -> gpubench.OwnModel:
    return detector(Network(depth=1 / 3, width=1 / 2))


def detector_m() -> gpubench.OwnModel:
    return detector(Network(depth=2 / 3, width=3 / 4))


def detector_l() -> gpubench.OwnModel:
    return detector(Network(depth=1, width=1))


def detector_x() -> gpubench.OwnModel:
    return detector(Network(depth=4 / 3, width=5 / 4))


def detector(network: Network, size: int = SIZE) -> gpubench.OwnModel:
    """The network with the stages around it, for images of `size` x `size` pixels."""

    def encoded_images(generator: torch.Generator, samples: int) -> list[bytes]:
        """JPEG files, as clients send them."""
        coarse = torch.rand(samples, 3, 8, 8, generator=generator)
        files = []
        for image in nn.functional.interpolate(coarse, (size, size), mode="bilinear"):
            file = BytesIO()
            to_pil_image(image).save(file, "JPEG")
            files.append(file.getvalue())
        return files

    normalise(network, *decode(encoded_images(torch.Generator().manual_seed(0), 2)))
    return gpubench.OwnModel(network, encoded_images, preprocess=decode, postprocess=suppress)


def normalise(network: Network, images: torch.Tensor) -> None:
    """Set the statistics of the normalisation layers from `images`, as training does.

    With the statistics of new layers, the boxes of all images would be the same.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches, of which there is one
    with torch.no_grad():
        network.train()(images)
    network.eval()


def decode(files: list[bytes]) -> tuple[torch.Tensor]:
    images = [pil_to_tensor(Image.open(BytesIO(file)).convert("RGB")) for file in files]
    return (torch.stack(images).float() / 255,)


def suppress(outputs: tuple[torch.Tensor]) -> list[torch.Tensor]:
    """The boxes of each image that do not overlap a better box of the same class: (boxes, 4)."""
    kept = []
    for boxes in outputs[0].float():
        scores, classes = (boxes[:, 4:5] * boxes[:, 5:]).max(dim=1)
        scores, best = scores.topk(min(CANDIDATES, len(boxes)))
        corners = box_convert(boxes[best, :4], "cxcywh", "xyxy")
        kept.append(corners[batched_nms(corners, scores, classes[best], OVERLAP)])
    return kept


class Network(nn.Module):
    """From images (batch, 3, height, width) to boxes (batch, boxes, 5 + CLASSES).

    A box is its centre, width and height in pixels, the chance that there is an object, and the
    chance of each class. `depth` multiplies the number of layers, and `width` that of channels.
    """

    def __init__(self, depth: float, width: float) -> None:
        super().__init__()
        c64, c128, c256, c512, c1024 = (round(width * n / 8) * 8 for n in (64, 128, 256, 512, 1024))

        def several(count: int) -> int:
            return max(round(count * depth), 1)

        self.to_8 = nn.Sequential(  # from the image to cells of 8 pixels
            Conv2dNormActivation(3, c64, 6, 2, padding=2, activation_layer=nn.SiLU),
            convolution(c64, c128, 3, 2),
            PartialBlock(c128, c128, several(3)),
            convolution(c128, c256, 3, 2),
            PartialBlock(c256, c256, several(6)),
        )
        self.to_16 = nn.Sequential(
            convolution(c256, c512, 3, 2), PartialBlock(c512, c512, several(9))
        )
        self.to_32 = nn.Sequential(
            convolution(c512, c1024, 3, 2),
            PartialBlock(c1024, c1024, several(3)),
            Pooling(c1024),
            convolution(c1024, c512, 1),
        )
        self.up_16 = PartialBlock(2 * c512, c512, several(3), adds=False)
        self.narrow_16 = convolution(c512, c256, 1)
        self.up_8 = PartialBlock(2 * c256, c256, several(3), adds=False)
        self.from_8 = convolution(c256, c256, 3, 2)
        self.down_16 = PartialBlock(2 * c256, c512, several(3), adds=False)
        self.from_16 = convolution(c512, c512, 3, 2)
        self.down_32 = PartialBlock(2 * c512, c1024, several(3), adds=False)
        self.heads = nn.ModuleList(
            Head(channels, anchors, stride)
            for channels, anchors, stride in zip((c256, c512, c1024), ANCHORS, STRIDES, strict=True)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells_8 = self.to_8(images)
        cells_16 = self.to_16(cells_8)
        top_32 = self.to_32(cells_16)
        top_16 = self.narrow_16(self.up_16(torch.cat((doubled(top_32), cells_16), 1)))
        found_8 = self.up_8(torch.cat((doubled(top_16), cells_8), 1))
        found_16 = self.down_16(torch.cat((self.from_8(found_8), top_16), 1))
        found_32 = self.down_32(torch.cat((self.from_16(found_16), top_32), 1))
        features = (found_8, found_16, found_32)
        return torch.cat(
            [head(each) for head, each in zip(self.heads, features, strict=True)], dim=1
        )


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    layers: nn.Module = Conv2dNormActivation(
        inputs, outputs, kernel, stride, activation_layer=nn.SiLU
    )
    return layers


def doubled(cells: torch.Tensor) -> torch.Tensor:
    """The cells at twice the height and width."""
    return nn.functional.interpolate(cells, scale_factor=2.0, mode="nearest")


class PartialBlock(nn.Module):
    """A cross-stage partial block: half of the channels pass through `count` bottlenecks."""

    def __init__(self, inputs: int, outputs: int, count: int, adds: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.first, self.second = convolution(inputs, half, 1), convolution(inputs, half, 1)
        self.bottlenecks = nn.Sequential(*(Bottleneck(half, adds) for _ in range(count)))
        self.last = convolution(2 * half, outputs, 1)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        halves = (self.bottlenecks(self.first(cells)), self.second(cells))
        joined: torch.Tensor = self.last(torch.cat(halves, 1))
        return joined


class Bottleneck(nn.Module):
    def __init__(self, channels: int, adds: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(channels, channels, 1), convolution(channels, channels, 3)
        )
        self.adds = adds

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        computed: torch.Tensor = self.layers(cells)
        return cells + computed if self.adds else computed


class Pooling(nn.Module):
    """Adds the largest values of three neighbourhoods of growing size to each cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels // 2, 1)
        self.largest = nn.MaxPool2d(5, stride=1, padding=2)
        self.last = convolution(channels // 2 * 4, channels, 1)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        pooled = [self.first(cells)]
        for _ in range(3):
            pooled.append(self.largest(pooled[-1]))
        joined: torch.Tensor = self.last(torch.cat(pooled, 1))
        return joined


class Head(nn.Module):
    """From the features of the cells to three boxes for each cell."""

    def __init__(self, channels: int, anchors: tuple[tuple[int, int], ...], stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.layer = nn.Conv2d(channels, len(anchors) * (5 + CLASSES), 1)
        sizes = torch.tensor(anchors, dtype=torch.float32).view(1, len(anchors), 1, 1, 2)
        self.register_buffer("anchors", sizes)
        self.anchors: torch.Tensor

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = cells.shape
        count = self.anchors.shape[1]
        values = self.layer(cells).view(batch, count, 5 + CLASSES, height, width)
        values = values.permute(0, 1, 3, 4, 2).sigmoid()
        y = torch.arange(height, device=cells.device).view(height, 1).expand(height, width)
        x = torch.arange(width, device=cells.device).view(1, width).expand(height, width)
        places = torch.stack((x, y), dim=-1).to(values.dtype)
        centres = (values[..., :2] * 2 - 0.5 + places) * self.stride
        sizes = (values[..., 2:4] * 2) ** 2 * self.anchors
        boxes = torch.cat((centres, sizes, values[..., 4:]), dim=-1)
        return boxes.reshape(batch, count * height * width, 5 + CLASSES)
