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
        config = LlamaConfig(**SIZE, **size, num_key_value_heads=2, max_position_embeddings=longest, **more)
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
