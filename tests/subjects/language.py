"""Folders of language models: a small real one where its data are at hand, and random ones of two architectures."""

import os
import struct
from pathlib import Path

import numpy as np
import torch

DATA = Path(os.environ.get("WHATELSE_DATA") or Path(__file__).parents[3] / "shared" / "data") / "stories260K"
SIZE = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}


def stories(folder):
    """Write stories260K as transformers has it: of neighbors that rotate together llama2.c's are halves here."""
    from transformers import LlamaConfig, LlamaForCausalLM

    raw = (DATA / "stories260K.bin").read_bytes()
    dim, hidden, layers, heads, few, vocab, longest = struct.unpack("7i", raw[:28])
    numbers, at, size = torch.from_numpy(np.frombuffer(raw[28:], "<f4").copy()), 0, dim // heads

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return numbers[at - count : at].view(*shape)

    def halves(x, n):
        return x.view(n, size // 2, 2, dim).transpose(1, 2).reshape(n * size, dim)

    table, norm = take(vocab, dim), take(layers, dim)
    q, k, v, o = (take(layers, n, dim) for n in (dim, few * size, few * size, dim))
    after, gate, down, up, last = (
        *(take(layers, dim), take(layers, hidden, dim)),
        *(take(layers, dim, hidden), take(layers, hidden, dim), take(dim)),
    )
    state = {"model.embed_tokens.weight": table, "lm_head.weight": table, "model.norm.weight": last}
    for i in range(layers):
        parts = {
            "input_layernorm": norm[i],
            "post_attention_layernorm": after[i],
            "self_attn.q_proj": halves(q[i], heads),
            "self_attn.k_proj": halves(k[i], few),
            "self_attn.v_proj": v[i],
            "self_attn.o_proj": o[i],
            "mlp.gate_proj": gate[i],
            "mlp.down_proj": down[i],
            "mlp.up_proj": up[i],
        }
        state |= {f"model.layers.{i}.{name}.weight": tensor for name, tensor in parts.items()}
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=few, max_position_embeddings=longest, rms_norm_eps=1e-5,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.load_state_dict(state)
    model.save_pretrained(folder)
    _pieces(vocab, longest).save_pretrained(folder)
    return folder


def _pieces(vocab, longest):
    """Return the tokenizer of stories260K: pieces are merged by their scores, and what is left is bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    raw, at, told = (DATA / "tok512.bin").read_bytes(), 4, []
    for _ in range(vocab):
        score, length = struct.unpack("fi", raw[at : at + 8])
        told.append((raw[at + 8 : at + 8 + length].decode(), score))
        at += 8 + length
    known = {name: i for i, name in enumerate(["<unk>", "<s>", "</s>", *(piece for piece, _ in told[3:])])}
    merges = [
        (piece[:cut], piece[cut:])
        for piece, _ in sorted(told[259:], key=lambda one: -one[1])
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]
    inner = Tokenizer(models.BPE(known, merges, unk_token="<unk>", byte_fallback=True))
    inner.normalizer = normalizers.Prepend(" ")
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=longest, **names)


def letters(*, bos=True):
    """Return a tokenizer of single bytes, 320 tokens with names that nothing says."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    known = {name: i for i, name in enumerate([*names, *(f"<{i}>" for i in range(len(names), 320))])}
    inner = Tokenizer(models.BPE(known, [], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    named = {"unk_token": "<unk>", "eos_token": "</s>"} | ({"bos_token": "<s>"} if bos else {})
    return PreTrainedTokenizerFast(tokenizer_object=inner, **named)


def random(folder, kind="llama", *, seed=0, moved=0.0, longest=64, tokenizer=True, **more):
    """Write a random model: weights of a seed, moved a little where a compression is meant."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    if kind == "llama":
        size = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = LlamaConfig(**SIZE, **{**size, **more}, num_key_value_heads=2, max_position_embeddings=longest)
        model = LlamaForCausalLM(config)
    else:
        model = GPT2LMHeadModel(GPT2Config(**SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=longest, **more))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            first = torch.randn(weights.shape, generator=rng) * (0.3 if weights.dim() > 1 else 0.1)
            weights.copy_(first + (weights.dim() == 1) + moved * torch.randn(weights.shape, generator=rng))
    model.eval().save_pretrained(folder)
    if tokenizer:
        letters().save_pretrained(folder)
    return folder


_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.down_proj": "ffn_down",
    "mlp.up_proj": "ffn_up",
}


def tensors(model):
    """Return the weights of a Llama by the names that GGUF has, heads in the order of llama.cpp."""
    config, found = model.config, {}
    for name, weights in model.state_dict().items():
        array = weights.float().numpy()
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        if name.startswith("model.layers."):
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            found[f"blk.{layer}.{_NAMES[part]}.weight"] = np.ascontiguousarray(array)
        elif name != "lm_head.weight" or not config.tie_word_embeddings:
            named = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}
            found[f"{named.get(name, 'output')}.weight"] = array
    return found


def packed(folder, file, kind="F32", *, more=None, without=(), scaling=""):
    """Write a Llama as a GGUF file, its matrices in blocks of a kind."""
    import gguf
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder)
    config, writer = model.config, gguf.GGUFWriter(file, "llama")
    writer.add_name("small")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling))
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    words += [chr(0x2581), *(chr(c) for c in range(97, 97 + config.vocab_size - len(words) - 1))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([word.encode() for word in words])
    writer.add_token_scores([float(-i) for i in range(len(words))])
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (len(words) - 259)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    wanted = gguf.GGMLQuantizationType[kind]
    for name, array in (tensors(model) | (more or {})).items():
        if name in without:
            continue
        plain = array.ndim == 1 or kind == "F32" or array.shape[1] % 32 > 0  # no whole blocks
        data = array if plain else gguf.quants.quantize(array, wanted)
        writer.add_tensor(name, data, raw_dtype=None if plain else wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(file)
