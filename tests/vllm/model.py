"""A tiny Llama with a tokenizer of its own and two LoRA adapters, written as files that vLLM loads.

Its weights are vLLM's to make up (`--load-format dummy`): what it answers is noise, what it costs is next to nothing.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

NAME, ADAPTERS = "tiny-llama", ("lora-a", "lora-b")
_SPECIAL = ("<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_HIDDEN, _LAYERS, _RANK = 64, 2, 8
_OUTPUTS = {"q_proj": 64, "v_proj": 32}


def make(folder: Path) -> None:
    """Write model and adapters into folders of *folder*, by their names."""
    model = folder / NAME
    model.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.save(str(model / "tokenizer.json"))
    _write(
        model / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast", bos_token="<|bos|>", eos_token="<|eos|>", pad_token="<|pad|>",
        model_max_length=8192, chat_template=_TEMPLATE,
    )  # fmt: skip
    _write(
        model / "config.json",
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=len(vocabulary), hidden_size=_HIDDEN,
        intermediate_size=128, num_hidden_layers=_LAYERS, num_attention_heads=2, num_key_value_heads=1, head_dim=32,
        max_position_embeddings=8192, bos_token_id=1, eos_token_id=2, pad_token_id=0, hidden_act="silu", rms_norm_eps=1e-6,
        tie_word_embeddings=False, torch_dtype="bfloat16",
    )  # fmt: skip
    for seed, name in enumerate(ADAPTERS):
        _adapter(folder / name, np.random.default_rng(seed))


def _adapter(folder: Path, draw: np.random.Generator) -> None:
    """Write an adapter as PEFT lays it out."""
    folder.mkdir()
    _write(
        folder / "adapter_config.json",
        peft_type="LORA", task_type="CAUSAL_LM", r=_RANK, lora_alpha=16, lora_dropout=0.0, bias="none",
        target_modules=list(_OUTPUTS), base_model_name_or_path=NAME, inference_mode=True,
    )  # fmt: skip
    tensors = {}
    for layer in range(_LAYERS):
        for module, outputs in _OUTPUTS.items():
            place = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{place}.lora_A.weight"] = draw.normal(size=(_RANK, _HIDDEN)).astype(np.float32)
            tensors[f"{place}.lora_B.weight"] = draw.normal(size=(outputs, _RANK)).astype(np.float32)
    (folder / "adapter_model.safetensors").write_bytes(_safetensors(tensors))


def _safetensors(tensors: dict[str, Any]) -> bytes:
    """Return *tensors* in the format safetensors: length of the head, head in JSON, numbers."""
    head, at = {}, 0
    for name, tensor in tensors.items():
        end = at + tensor.nbytes
        head[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": (at, end)}
        at = end
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + b"".join([tensor.tobytes() for tensor in tensors.values()])


def _write(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(fields, indent=1))
