"""Hugging Face folders: what they take, and that no code of theirs runs unasked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import as_cell

import gpubench
from gpubench.cells.foreign_code import needs_code
from gpubench.cells.grid import expand, read_grids
from gpubench.errors import InputError
from gpubench.models.base import load, seeded
from gpubench.models.huggingface_folder import code_in, positions
from gpubench.spec.parse import make_spec

BRIEF = {"requests": 2, "warmup": 0, "threads": 1, "device": "cpu", "runtime": "eager"}
NARROW = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
          "intermediate_size": 64}  # fmt: skip
TEXT = NARROW | {"vocab_size": 99, "max_position_embeddings": 77}
IMAGE = NARROW | {"image_size": 32, "patch_size": 16}

# Code that comes with a model: whoever runs it leaves a trace.
CODE = """
import os, torch, transformers
open(os.environ["TRACE"], "w").close()
class NetConfig(transformers.PreTrainedConfig):
    model_type = "own-net"
class Net(transformers.PreTrainedModel):
    config_class = NetConfig
    def __init__(self, config):
        super().__init__(config)
        self.inner = torch.nn.Embedding(99, 8)
        self.post_init()
    def forward(self, input_ids, attention_mask=None, return_dict=None):
        return (self.inner(input_ids),)
"""
CODE_CONFIG = {
    "model_type": "own-net",
    "architectures": ["Net"],
    "vocab_size": 99,
    "auto_map": {"AutoConfig": "net.NetConfig", "AutoModel": "net.Net"},
}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUBENCH_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def with_code(tmp_path: Path) -> Path:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "net.py").write_text(CODE)
    (folder / "config.json").write_text(json.dumps(CODE_CONFIG))
    return folder


def measured(**settings: object) -> gpubench.Result:
    return gpubench.run(make_spec(BRIEF | settings))


def saved(folder: Path, name: str, **configuration: object) -> str:
    """The folder of a model of this class, made from its configuration."""
    import transformers

    family = getattr(transformers, name)
    family(family.config_class(**configuration)).save_pretrained(folder)
    return f"{folder}/"


def test_code_of_a_folder_runs_with_leave_alone(with_code: Path, tmp_path: Path) -> None:
    """In a process of its own, with somebody at the terminal who would say yes."""
    trace = tmp_path / "trace"
    command = [sys.executable, "-P", "-m", "gpubench.cli", "run", "--model", f"{with_code}/"]
    command += ["--requests", "2", "--warmup", "0", "--device", "cpu", "--runtime", "eager"]
    variables = {"TRACE": str(trace), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    refused = subprocess.run(
        command, input="y\n" * 9, capture_output=True, text=True, env=variables
    )
    assert refused.returncode == 2
    assert "names code of its own (auto_map); if you trust it, add --allow-code" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not trace.exists()
    allowed = subprocess.run(
        [*command, "--allow-code"], input="", capture_output=True, text=True, env=variables
    )
    assert allowed.returncode == 0, allowed.stderr
    assert trace.exists()


def test_python_and_sweep_files_need_leave_too(with_code: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="add --allow-code"):
        measured(model=f"{with_code}/")
    with pytest.raises(gpubench.GpubenchError, match="add --allow-code"):
        load(as_cell(make_spec({"model": f"{with_code}/"})))
    file = tmp_path / "sweep.yaml"
    file.write_text(json.dumps({"model": f"{with_code}/"} | BRIEF))
    with pytest.raises(InputError, match="add --allow-code"):
        expand(read_grids(file)[0])
    assert read_grids(file, allow_code=True)[0].settings["allow_code"] is True
    file.write_text(json.dumps({"model": "resnet50", "allow_code": True}))
    with pytest.raises(InputError, match="a file cannot allow it"):
        read_grids(file)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"auto_map": {"AutoModel": "a.B"}}, True),
        ({"text_config": {"auto_map": {"AutoModel": "a.B"}}}, True),
        ({"attn_implementation": "somebody/kernels"}, True),
        ({"attn_implementation": {"text": "somebody/kernels:f"}}, True),
        ({"attn_implementation": "sdpa", "auto_map": {}}, False),
        ({"architectures": ["BertModel"]}, False),
    ],
)
def test_code_is_found_wherever_a_configuration_names_it(
    config: dict[str, object], code: bool
) -> None:
    assert (code_in(config) is not None) is code


def test_the_weights_of_a_preset_may_not_bring_code(with_code: Path) -> None:
    spec = make_spec({"model": "bert-base", "weights": str(with_code)})
    assert needs_code(spec) is not None
    with pytest.raises(InputError, match="add --allow-code"):
        measured(model="bert-base", weights=str(with_code))


def test_a_pickle_among_the_weights_is_not_executed(tmp_path: Path) -> None:
    folder = saved(tmp_path / "bert", "BertModel", **TEXT)
    (tmp_path / "bert" / "model.safetensors").unlink()

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return open, (str(tmp_path / "trace"), "w")  # type: ignore[return-value]

    torch.save({"x": Evil()}, tmp_path / "bert" / "pytorch_model.bin")
    result = measured(model=folder, weights="pretrained")
    assert result.error is not None
    assert result.error.stage == "load"
    assert not (tmp_path / "trace").exists()


def test_the_sequence_length_is_what_the_model_has_positions_for(tmp_path: Path) -> None:
    folder = saved(tmp_path / "clip", "CLIPTextModel", **TEXT)
    result = measured(model=folder)
    assert result.error is None, result.error
    assert result.spec.seq_len == 77
    with pytest.raises(InputError, match="has 77 positions; use at most that"):
        measured(model=folder, seq_len=78)
    assert (
        positions({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1})
        == 512
    )
    assert positions({"text_config": {"max_position_embeddings": 64}}) == 64
    assert positions({"n_positions": 1024}) == 1024
    assert positions({}) is None


def test_a_model_of_text_and_images_gets_both(tmp_path: Path) -> None:
    folder = saved(
        tmp_path / "clip", "CLIPModel", text_config=TEXT, vision_config=IMAGE, projection_dim=16
    )
    result = measured(model=folder, batch=16)
    assert result.error is None, result.error
    assert result.spec.seq_len == 77
    ids, mask, pixels = load(as_cell(make_spec({"model": folder, "seq_len": 9}))).make_inputs(
        seeded(0), 2
    )
    assert (ids.shape, mask.shape, pixels.shape) == ((2, 9), (2, 9), (2, 3, 32, 32))


def test_a_decoder_gets_tokens_too(tmp_path: Path) -> None:
    folder = saved(
        tmp_path / "t5", "T5ForConditionalGeneration", vocab_size=99, d_model=32, d_kv=16, d_ff=64,
        num_layers=1, num_heads=2, decoder_start_token_id=0,
    )  # fmt: skip
    result = measured(model=folder, seq_len=8)
    assert result.error is None, result.error
    assert (
        len(load(as_cell(make_spec({"model": folder, "seq_len": 8}))).make_inputs(seeded(0), 2))
        == 3
    )


def test_what_takes_sound_is_one_line_and_can_be_given_real_inputs(tmp_path: Path) -> None:
    folder = saved(
        tmp_path / "whisper", "WhisperModel", d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, vocab_size=99, max_source_positions=20, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    result = measured(model=folder)
    assert result.error is not None
    assert "--inputs-file" in result.error.message
    arrays = tmp_path / "sound.npz"
    ids = np.ones((2, 4), np.int64)
    np.savez(arrays, input_features=np.zeros((2, 80, 40), np.float32), decoder_input_ids=ids)
    assert measured(model=folder, inputs_file=str(arrays)).error is None
