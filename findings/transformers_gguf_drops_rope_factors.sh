#!/usr/bin/env bash
# Behavior: a GGUF file of a Llama 3.1 holds the scaling of its rotary frequencies as a tensor, rope_freqs.weight, which
#   llama.cpp divides them by. transformers loads such a file without it and without a word: no key is reported as unexpected,
#   the configuration says rope_type default, and the model answers otherwise than the one that was converted.
# Version: transformers 5.24.0, gguf 0.19.0, accelerate 1.15.0, torch 2.13.0.
# Source: transformers/modeling_gguf_pytorch_utils.py (load_gguf_checkpoint: a tensor that the map does not name is left
#   out); llama.cpp, convert_hf_to_gguf.py (LlamaModel.generate_extra_tensors writes rope_freqs).
# Why it matters: quality measured on such a file, at any length of text, is that of another model.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install "torch==2.13.0" "transformers==5.24.0" "gguf==0.19.0" \
  "accelerate==1.15.0"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

print(*(f"{name} {version(name)}" for name in ("torch", "transformers", "gguf")))
rope = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
config = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=64, rope_parameters=rope, tie_word_embeddings=True,
)
torch.manual_seed(0)
model = LlamaForCausalLM(config).eval()
for weights in model.parameters():
    weights.data = torch.randn(weights.shape) / 3
names = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.down_proj": "ffn_down", "mlp.up_proj": "ffn_up",
}
writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_name("small")
writer.add_context_length(64)
writer.add_embedding_length(32)
writer.add_block_count(1)
writer.add_feed_forward_length(64)
writer.add_head_count(4)
writer.add_head_count_kv(4)
writer.add_layer_norm_rms_eps(config.rms_norm_eps)
writer.add_rope_dimension_count(8)
writer.add_rope_freq_base(500000.0)
writer.add_vocab_size(64)
for name, weights in model.state_dict().items():
    array = weights.numpy()
    if "q_proj" in name or "k_proj" in name:  # the order of heads that llama.cpp has
        array = array.reshape(4, 2, 4, 32).swapaxes(1, 2).reshape(32, 32)
    if name.startswith("model.layers."):
        part = name.removeprefix("model.layers.0.").removesuffix(".weight")
        writer.add_tensor(f"blk.0.{names[part]}.weight", np.ascontiguousarray(array))
    elif name != "lm_head.weight":
        called = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}[name]
        writer.add_tensor(f"{called}.weight", array)
plain = 1 / 500000.0 ** (torch.arange(0, 8, 2) / 8)
writer.add_tensor("rope_freqs.weight", (plain / model.model.rotary_emb.inv_freq).numpy())
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
read, info = AutoModelForCausalLM.from_pretrained(".", gguf_file="model.gguf", output_loading_info=True)
ids = torch.arange(3, 60)[None]
with torch.no_grad():
    off = float((read(ids).logits - model(ids).logits).abs().max())
    read.model.rotary_emb.inv_freq = model.model.rotary_emb.inv_freq
    mended = float((read(ids).logits - model(ids).logits).abs().max())
told = {name: sorted(keys) for name, keys in info.items() if keys}
print("told:", told or "nothing", "| rope_type:", read.config.rope_parameters["rope_type"])
print(f"largest difference of the scores: {off:.2g}; with the frequencies of the original: {mended:.2g}")
if off > 0.01 and mended < 1e-4 and not told:
    sys.exit(0)
print("the factors are read, or their absence is told; the behavior is no longer as described")
sys.exit(1)
PY
