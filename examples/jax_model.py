"""Your own function of JAX.

gpubench run --model examples/jax_model.py:classifier --runtime jax --batch 8
gpubench sweep --model examples/jax_model.py:classifier --runtime jax --precision fp32,bf16 \\
    --batch 1,8 --output results/jax
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import torch

import gpubench

Layers = list[tuple[jax.Array, jax.Array]]  # the weight and the bias of each layer


@jax.jit
def apply(layers: Layers, images: jax.Array) -> jax.Array:
    """Logits [batch, 10] of images [batch, 32, 32, 3]: two convolutions and a linear layer."""
    *convolutions, (weight, bias) = layers
    for kernel, offset in convolutions:
        images = jax.lax.conv_general_dilated(
            images, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = jax.nn.relu(images + offset)
    return images.reshape(len(images), -1) @ weight + bias


def classifier() -> gpubench.OwnModel:
    """gpubench calls this. It could also return (function, example images as an array).

    `functools.partial` makes the weights arguments of the function. So --precision can convert
    them, and the compiler does not take them for constants.
    """
    shapes = [(3, 3, 3, 32), (3, 3, 32, 64), (8 * 8 * 64, 10)]
    keys = jax.random.split(jax.random.key(0), len(shapes))
    initialise = jax.nn.initializers.he_normal()
    layers = [
        (initialise(key, shape), jnp.zeros(shape[-1]))
        for key, shape in zip(keys, shapes, strict=True)
    ]

    def images(generator: torch.Generator, samples: int) -> tuple[torch.Tensor]:
        return (torch.rand(samples, 32, 32, 3, generator=generator),)

    return gpubench.OwnModel(functools.partial(apply, layers), images, answers=("top1",))
