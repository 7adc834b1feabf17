"""ResNet50 with 30% of its channels removed, beside the whole one: cost and size.

pip install torch-pruning
gpubench sweep --model examples/pruned_resnet50.py:whole,examples/pruned_resnet50.py:pruned \\
    --instance c7i.xlarge --output results/pruned
gpubench report results/pruned

torch-pruning (MIT) removes the channels with the smallest weights, and with them everything that
reads or writes them. So the layers become smaller, and every runtime has less to compute. A pruned
network has to be trained further on its data: let `pruned` load the weights after that.

Both functions make the same random weights, so speed and size are right, and accuracy means
nothing. Channels are removed in groups of 8, which GPUs and CPUs compute faster.
"""

from __future__ import annotations

import torch
import torch_pruning
import torchvision

import gpubench

SIZE = 224  # pixels
SHARE = 0.3  # of the channels of each layer
GROUP = 8  # channels


def whole() -> gpubench.OwnModel:
    return own_model(resnet50())


def pruned() -> gpubench.OwnModel:
    network = resnet50()
    prune(network, torch.zeros(1, 3, SIZE, SIZE), kept_whole=[network.get_submodule("fc")])
    return own_model(network)


def prune(
    network: torch.nn.Module, example: torch.Tensor, kept_whole: list[torch.nn.Module]
) -> None:
    """Remove SHARE of the output channels of each layer, except of the layers `kept_whole`."""
    pruner = torch_pruning.pruner.MagnitudePruner(
        network,
        example,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        pruning_ratio=SHARE,
        ignored_layers=kept_whole,  # the last layer has one output for each class
        round_to=GROUP,
    )
    pruner.step()


def resnet50() -> torch.nn.Module:
    torch.manual_seed(0)
    network: torch.nn.Module = torchvision.models.resnet50(weights=None)
    return network.eval()


def own_model(network: torch.nn.Module) -> gpubench.OwnModel:
    def images(generator: torch.Generator, samples: int) -> tuple[torch.Tensor]:
        return (torch.randn(samples, 3, SIZE, SIZE, generator=generator),)

    return gpubench.OwnModel(network, images, answers=("top1",))
