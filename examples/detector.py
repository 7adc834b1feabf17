"""A detector, from encoded image to boxes, with preprocessing and postprocessing.

gpubench run --model examples/detector.py:detector --runtime torchscript --json -

The network is RetinaNet's backbone and heads (torchvision), with random weights, on 128 x 128
images. Operations whose sizes depend on the data cannot be exported or captured, so they are not
part of the network. Preprocessing decodes the JPEG images; postprocessing suppresses overlapping
boxes (non-maximum suppression). Each of the two is a separate stage in the result.
"""

from __future__ import annotations

from io import BytesIO

import torch
import torchvision
from PIL import Image
from torchvision.models.detection import retinanet_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

import gpubench

SIZE = 128
CLASSES = 91
BEST = 200  # the boxes with the highest scores of an image; only these are compared for overlap


class Heads(torch.nn.Module):
    """From images to class logits (batch, anchors, classes) and offsets (batch, anchors, 4)."""

    def __init__(self) -> None:
        super().__init__()
        whole = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES)
        self.backbone, self.head = whole.backbone, whole.head
        self.anchors = anchors_of(whole.anchor_generator, self.backbone)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.head(list(self.backbone(images).values()))
        return found["cls_logits"], found["bbox_regression"]


def anchors_of(generator: AnchorGenerator, backbone: torch.nn.Module) -> torch.Tensor:
    """The boxes that offsets refer to: (anchors, 4), as corners in pixels."""
    images = torch.zeros(1, 3, SIZE, SIZE)
    with torch.no_grad():
        features = list(backbone.eval()(images).values())
    boxes: torch.Tensor = generator(ImageList(images, [(SIZE, SIZE)]), features)[0]
    return boxes


def encoded_images(generator: torch.Generator, samples: int) -> list[bytes]:
    """JPEG files, as clients send them."""
    coarse = torch.rand(samples, 3, 8, 8, generator=generator)
    files = []
    for image in torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear"):
        file = BytesIO()
        to_pil_image(image).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def decode(files: list[bytes]) -> tuple[torch.Tensor]:
    images = [pil_to_tensor(Image.open(BytesIO(file)).convert("RGB")) for file in files]
    return (torch.stack(images).float() / 255,)


def detector() -> gpubench.OwnModel:
    heads = Heads()
    coder = torchvision.models.detection._utils.BoxCoder((1.0, 1.0, 1.0, 1.0))

    def suppress(outputs: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
        """The boxes of each image that do not overlap a better box of the same class."""
        kept = []
        for logits, offsets in zip(*outputs, strict=True):
            scores, classes = logits.float().max(dim=1)
            scores, best = scores.topk(BEST)
            boxes = coder.decode_single(offsets.float()[best], heads.anchors[best])
            keep = torchvision.ops.batched_nms(boxes, scores, classes[best], 0.5)
            kept.append(boxes[keep])
        return kept

    return gpubench.OwnModel(heads, encoded_images, preprocess=decode, postprocess=suppress)
