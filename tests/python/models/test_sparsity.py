"""2:4 sparsity: which weights are kept, what is refused, and that the reference is pruned."""

from __future__ import annotations

import pytest
import torch
from factories import a_cell, another
from small_models import make_presets_small
from torch.sparse._semi_structured_conversions import sparse_semi_structured_to_dense_cutlass

from gpubench.cells import refuse
from gpubench.engines import sparse_linear, weights_bytes
from gpubench.errors import GpubenchError, InputError
from gpubench.measure.assemble import _unproven_on_gpus
from gpubench.measure.engine_key import engine_key
from gpubench.measure.reference import References
from gpubench.measure.shared import Shared
from gpubench.models import sparsity
from gpubench.models.base import load
from gpubench.spec.parse import make_spec
from gpubench.system import torch_gpus
from gpubench.system.torch_gpus import TorchGpu


def test_the_two_largest_magnitudes_of_each_four_are_kept() -> None:
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.0, 0.0, -0.5, 0.1], [8, 7, 6, 5, 1, 2, 3, 4]])
    kept = [[0, 1, 1, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0, 1, 1]]
    assert sparsity.mask_2_of_4(weight).tolist() == torch.tensor(kept).bool().tolist()


def test_exactly_two_of_four_equal_magnitudes_are_kept() -> None:
    mask = sparsity.mask_2_of_4(torch.ones(32, 64))
    assert mask.reshape(-1, 4).sum(1).unique().tolist() == [2]


def test_only_linear_layers_whose_sizes_fit_are_pruned() -> None:
    class Subclass(torch.nn.Linear):
        pass

    fits, convolution = torch.nn.Linear(64, 32), torch.nn.Conv2d(64, 32, 1)
    others = [torch.nn.Linear(64, 10), torch.nn.Linear(60, 32), Subclass(64, 32)]
    layers: list[torch.nn.Linear | torch.nn.Conv2d] = [fits, *others, convolution]
    before = [layer.weight.detach().clone() for layer in layers]
    sparsity.prune_2_of_4(torch.nn.Sequential(*layers), "mine.py:net")
    zeros = [int((layer.weight == 0).sum()) / layer.weight.numel() for layer in layers]
    assert zeros == [0.5, 0, 0, 0, 0]
    mask = sparsity.mask_2_of_4(before[0])
    assert torch.equal(fits.weight[mask], before[0][mask])


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(GpubenchError, match=r"mine.py:net has no linear layer.*remove it"):
        sparsity.prune_2_of_4(torch.nn.Linear(8, 8), "mine.py:net")


@pytest.fixture
def small_bert(monkeypatch: pytest.MonkeyPatch) -> None:
    make_presets_small(monkeypatch)


@pytest.mark.usefixtures("small_bert")
def test_the_reference_is_that_of_the_pruned_model_and_sweeps_do_not_mix_the_two() -> None:
    dense = a_cell(model="bert-base", seq_len=8, runtime="eager")
    sparse = another(dense, sparsity="2:4")
    shared, references = Shared(keep=True), References()
    outputs = []
    for cell in (dense, sparse):
        assert shared.kept(cell) is None
        model = shared.load(cell).model
        assert not references.has(model, cell)
        made = references.get(model, cell).outputs
        assert made is not None
        outputs.append(made[0][0])
    assert not torch.equal(*outputs)
    assert engine_key(dense) != engine_key(sparse)
    layer, *_ = sparsity.layers(load(sparse).module)
    assert int((layer.weight == 0).sum()) == layer.weight.numel() / 2


def on_gpu(**settings: object) -> dict[str, object]:
    defaults: dict[str, object] = {
        "model": "bert-base", "runtime": "eager", "precision": "fp16", "device": "cuda:0",
        "sparsity": "2:4",
    }  # fmt: skip
    return defaults | settings


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"device": "cpu"}, "CPUs have no kernels for it; it needs an NVIDIA GPU"),
        ({"model": "resnet50"}, "it is for linear layers, and resnet50 has none or very few"),
        ({"runtime": "torchscript"}, "torchscript has no kernels.*--runtime eager or tensorrt"),
        ({"precision": "fp32"}, "in fp16, bf16, and not in fp32; choose one of them"),
        ({"runtime": "tensorrt", "precision": "fp8"}, "in fp16, bf16, int8, and not in fp8"),
    ],
)
def test_what_has_no_kernels_is_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=f"--sparsity 2:4: .*{problem}"):
        refuse._refuse_sparsity(a_cell(**on_gpu(**settings)))


@pytest.mark.parametrize(("capability", "is_refused"), [((7, 5), True), ((8, 0), False)])
def test_gpus_before_ampere_are_refused(
    capability: tuple[int, int], is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_gpus, "torch_gpus", lambda: (TorchGpu("Tesla T4", capability),))
    cell = a_cell(**on_gpu())
    if is_refused:
        with pytest.raises(InputError, match="Tesla T4 has no kernels for it"):
            refuse._refuse_sparsity(cell)
    else:
        refuse._refuse_sparsity(cell)


def test_a_result_says_that_it_was_never_run_on_a_gpu() -> None:
    assert _unproven_on_gpus(a_cell(**on_gpu())) == "--sparsity 2:4"
    assert _unproven_on_gpus(a_cell(**on_gpu(sparsity="none"))) is None


def test_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(InputError, match="sparsity"):
        make_spec({"model": "bert-base", "sparsity": "1:4"})


CUTLASS, CUSPARSELT = (
    torch.sparse.SparseSemiStructuredTensorCUTLASS,
    torch.sparse.SparseSemiStructuredTensorCUSPARSELT,
)


@pytest.mark.parametrize("kernels", [CUTLASS, CUSPARSELT])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_pruned_layer_has_a_size_that_the_kernels_take(
    kernels: type[torch.sparse.SparseSemiStructuredTensor], dtype: torch.dtype
) -> None:
    least = kernels._DTYPE_SHAPE_CONSTRAINTS[dtype]
    rows, columns = sparsity._MULTIPLES
    assert rows % least.sparse_min_rows == columns % least.sparse_min_cols == 0


def test_compressed_weights_are_the_pruned_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch can compress on a CPU, too, if its check of the device is left out."""
    monkeypatch.setattr(torch.sparse.SparseSemiStructuredTensor, "_FORCE_CUTLASS", True)
    monkeypatch.setattr(CUTLASS, "_validate_device_dim_dtype_shape", lambda weight: None)
    layers = [torch.nn.Linear(128, 64).half(), torch.nn.Linear(64, 10).half()]
    module = torch.nn.Sequential(*layers)
    sparsity.prune_2_of_4(module, "net")
    pruned, other = (layer.weight.detach().clone() for layer in layers)
    sparse_linear.compress(module)
    stored = layers[0].weight
    assert isinstance(stored, CUTLASS)
    assert torch.equal(sparse_semi_structured_to_dense_cutlass(stored.packed, stored.meta), pruned)
    assert weights_bytes.of_tensors([stored]) < 0.6 * pruned.nbytes
    assert torch.equal(layers[1].weight, other)
