"""Language models as methods treat them: what is asked of them, what methods make of them, how they are kept."""

import importlib.util
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse import opening, recipe
from whatelse.artifacts import folder as artifact
from whatelse.errors import ArtifactError, RecipeError, TaskError, WhatElseError
from whatelse.modules import codec, windows
from whatelse.modules.decoder import Decoder
from whatelse.modules.skip import blocks, influences
from whatelse.tasks.task import Split, Task

transformers = pytest.importorskip("transformers", reason="needs whatelse[transformers]")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]
_SPEC = importlib.util.spec_from_file_location("language", Path(__file__).parents[1] / "subjects" / "language.py")
language = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(language)

TEXT = "Once upon a time there was a small dog, and it ran home to its friend. The cat sat on the mat! É, 模型? " * 8
KINDS = ("llama", "gpt2")
FLOATS = "quantize.uniform(bits=4, activation_bits=32)"


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, "utf-8")
    return opening.load_task(f"language(path='{path}', document=200, calibration='{path}', windows=12, window=24)")


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory, task):
    with warnings.catch_warnings(action="ignore"):
        return opening.open_module(str(language.random(tmp_path_factory.mktemp(request.param), request.param)), task)


@pytest.fixture(scope="module")
def llama(tmp_path_factory, task):
    with warnings.catch_warnings(action="ignore"):
        return opening.open_module(str(language.random(tmp_path_factory.mktemp("llama"), num_hidden_layers=3)), task)


def done(steps, model, task, seed=0):
    for at, step in enumerate(recipe.parse(steps)):
        model = recipe.apply(step, model, task, torch.Generator().manual_seed(seed + at))
    return model


def read(model, task, seed=0):
    return windows.read(model, task, torch.Generator().manual_seed(seed)).calibration


def writes(model, start):
    """Whether a model that keeps keys and values writes what it says token by token."""
    slow = start
    for _ in range(4):
        slow = torch.cat([slow, model(slow)[:, :, -1].argmax(1, keepdim=True)], 1)
    how = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    told = model.lm.generate(start, attention_mask=torch.ones_like(start), **how)
    return torch.equal(told, slow[:, : told.shape[1]])


@pytest.mark.known_answer
def test_windows_are_stretches_of_the_text_after_the_token_that_stands_before_it(whole, task):
    tokenizer = whole.words.tokenizer
    stream = [i for text in task.language.calibration.texts for i in tokenizer.encode(text)]
    found = read(whole, task)
    assert found.inputs.shape == found.targets.shape == (12, 24)
    assert bool((found.inputs[:, 0] == tokenizer.bos_token_id).all())
    assert torch.equal(found.inputs[:, 1:], found.targets[:, :-1])
    stretches = {tuple(stream[at : at + 24]) for at in range(len(stream) - 23)}
    assert all(tuple(row) in stretches for row in found.targets.tolist())
    assert torch.equal(read(whole, task).inputs, found.inputs)
    assert not torch.equal(read(whole, task, seed=1).inputs, found.inputs)


def test_a_task_without_text_to_calibrate_on_is_refused(whole, task, tmp_path):
    (tmp_path / "t.txt").write_text(TEXT, "utf-8")
    (tmp_path / "p.csv").write_text("stereotype,anti_stereotype\na b,b a\nb c,c b\n", "utf-8")
    bare = opening.load_task(f"language(path='{tmp_path / 't.txt'}')")
    with pytest.raises(TaskError, match="no text to calibrate on"):
        done("prune.magnitude()", whole, bare)
    with pytest.raises(TaskError, match="holds pairs; documents are needed"):
        opening.load_task(f"language(path='{tmp_path / 't.txt'}', calibration='{tmp_path / 'p.csv'}')")
    text = tmp_path / "t.txt"
    assert bare.key != opening.load_task(f"language(path='{text}', calibration='{text}')").key


@pytest.mark.parametrize(
    "steps",
    [
        *("", "prune.magnitude(sparsity=0.0)", "prune.structured(ratio=0.0)", "decompose.svd(rank=1.0)"),
        *("train.finetune(epochs=0)", "prune.wanda(sparsity=0.0)", "prune.sparsegpt(sparsity=0.0)"),
    ],
)
def test_with_all_kept_nothing_changes(steps, whole, task):
    ids = read(whole, task).inputs
    same = done(steps, whole, task)
    assert torch.equal(same(ids), whole(ids))
    lm = transformers.AutoModelForCausalLM.from_config(same.plain().lm.config).eval()
    lm.load_state_dict(same.plain().lm.state_dict())
    original = Decoder(lm, whole.words)
    assert torch.allclose(original(ids), whole(ids), atol=1e-4)  # GPT-2 lies the other way round


@pytest.mark.parametrize(
    "steps",
    [
        *(FLOATS, "quantize.uniform(bits=8)", "quantize.gptq(bits=3, activation_bits=32)", "quantize.int4()"),
        *("quantize.int8(mode='weight')", "quantize.int8()", "decompose.svd(rank=0.3, aware=True)"),
        *("prune.magnitude(sparsity=0.6)", "prune.wanda(pattern='2:4')", "prune.structured(ratio=0.3, round_to=1)"),
        *("prune.depth(share=0.5)", "prune.sparsegpt() > quantize.gptq(bits=4, activation_bits=32)"),
        "distill.logits(student='prune.depth(share=0.5)', epochs=1, batch=4)",
    ],
)
def test_what_is_kept_as_data_says_what_was_measured(steps, whole, task, tmp_path):
    ids = read(whole, task).inputs
    small = done(steps, whole, task)
    back = codec.decode(*codec.encode(small))
    assert isinstance(back, Decoder)
    assert torch.equal(back(ids), small(ids))
    assert not torch.allclose(small(ids), whole(ids), atol=1e-3)
    assert set(back.state_dict()) == set(small.state_dict())  # what is derived stays derived
    artifact.save(back, tmp_path / "m")
    assert torch.equal(artifact.load(tmp_path / "m")(ids), small(ids))
    assert back.words.tokenizer.get_vocab() == whole.words.tokenizer.get_vocab()
    assert writes(back, ids[:1, :5].long())


@pytest.mark.known_answer
@pytest.mark.parametrize("steps", [FLOATS, "prune.magnitude()", "decompose.svd(rank=0.3)", "quantize.int4()"])
def test_as_floats_it_is_the_class_of_transformers_with_the_numbers_that_codes_stand_for(steps, whole, task):
    ids = read(whole, task).inputs
    small = done(steps, whole, task)
    made = small.plain()
    assert type(made.lm) is type(whole.lm)
    kinds = [{n: type(p) for n, p in m.named_modules()} for m in (made.lm, type(made.lm)(made.lm.config))]
    assert kinds[0] == kinds[1]
    assert torch.allclose(made(ids), small(ids), atol=1e-4 * float(small(ids).abs().max()))


def test_what_has_no_floats_is_named(whole, task):
    for steps in ("quantize.uniform(bits=8)", "quantize.int8()"):
        with pytest.raises(ArtifactError, match="that computes with rounded activations"):
            done(steps, whole, task).plain()


@pytest.mark.known_answer
@pytest.mark.parametrize(
    "step",
    [
        *("prune.wanda(sparsity=0.5)", "prune.wanda(pattern='2:4')", "prune.sparsegpt(sparsity=0.4, block=8)"),
        "quantize.gptq(bits=3, activation_bits=32)",
        "quantize.gptq(bits=4, activation_bits=32, grid='group', group=8)",
    ],
)
def test_every_layer_of_every_block_is_treated_as_that_layer_alone_with_what_enters_it(step, whole, task):
    """What enters a layer comes out of those that were compressed before, so it is taken of the finished model."""
    small = done(step, whole, task)
    given = read(whole, task)
    seen = {}
    parts = {n: p for n, p in small.named_modules() if n.rpartition(".")[2] in LAYERS}
    hooks = [p.register_forward_pre_hook(lambda _, args, n=n: seen.update({n: args[0]})) for n, p in parts.items()]
    small(given.inputs)
    for hook in hooks:
        hook.remove()
    assert len(parts) == len(seen) == (14 if "Llama" in type(whole.lm).__name__ else 8)
    for name, part in parts.items():
        entering = seen[name].flatten(0, 1)
        alone = nn.Sequential(_copied(whole.get_submodule(name)))
        labels = torch.arange(len(entering)) % 2
        split = Split(entering, labels, labels)
        inner = Task("layer", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split))
        wanted = done(step, alone, inner)[0].weight
        off = (wanted - part.weight).abs()
        # Sums of another order may move a weight that lies between two levels: one in a thousand at most.
        assert float((off > 1e-4).double().mean()) <= 1e-3, name


LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "c_attn", "c_proj", "c_fc")


def _copied(layer):
    made = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    made.load_state_dict(layer.state_dict())
    return made.requires_grad_(requires_grad=False)


@pytest.mark.known_answer
def test_wanda_zeroes_in_every_row_of_a_block_what_a_loop_over_its_tokens_finds_least(llama, task):
    small, given = done("prune.wanda(sparsity=0.5)", llama, task), read(llama, task)
    layer = llama.lm.model.layers[0].mlp.up_proj
    seen = []
    hook = small.lm.model.layers[0].mlp.up_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    small(given.inputs)
    hook.remove()
    norms = [sum(float(x) ** 2 for x in seen[0][..., j].flatten()) ** 0.5 for j in range(layer.in_features)]
    for row, kept in zip(layer.weight.tolist(), small.lm.model.layers[0].mlp.up_proj.weight, strict=True):
        order = sorted(range(len(row)), key=lambda j: abs(row[j]) * norms[j])
        assert sorted(torch.nonzero(kept == 0).flatten().tolist()) == sorted(order[: len(row) // 2])


@pytest.mark.known_answer
def test_the_blocks_that_turn_what_passes_them_least_go_and_the_rest_is_the_model_called_without_them(llama, task):
    ids = read(llama, task).inputs
    seen, by_hand = [], {}
    inner = [*llama.lm.model.layers, llama.lm.model.norm]  # what enters a block left the one before it
    hooks = [part.register_forward_pre_hook(lambda _, args: seen.append(args[0].double())) for part in inner]
    llama(ids)
    for hook in hooks:
        hook.remove()
    for at, (one, two) in enumerate(pairwise(seen)):
        cosines = (one * two).sum(-1) / (one.norm(dim=-1) * two.norm(dim=-1))
        by_hand[f"lm.model.layers.{at}"] = 1 - float(cosines.mean())
    assert blocks(llama) == list(by_hand)
    found = influences(llama, list(by_hand), ids)
    assert found == pytest.approx(by_hand, abs=1e-6)
    least = min(by_hand, key=by_hand.get)
    small = done("prune.depth(share=0.34)", llama, task)
    left = [at for at in range(3) if f"lm.model.layers.{at}" != least]
    assert len(small.lm.model.layers) == small.lm.config.num_hidden_layers == 2
    for at, was in enumerate(left):
        own = small.lm.model.layers[at]
        assert own.self_attn.layer_idx == at
        pairs = zip(own.parameters(), llama.lm.model.layers[was].parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    named = done(f"prune.depth(layers='{least}')", llama, task)
    assert torch.equal(named(ids), small(ids))
    later = done("prune.depth(layers='lm.model.layers.0')", llama, task)
    assert [block.self_attn.layer_idx for block in later.lm.model.layers] == [0, 1]
    assert writes(later, ids[:1, :5].long())
    with pytest.raises(RecipeError, match="give one of them"):
        done(f"prune.depth(layers='{least}', share=0.5)", llama, task)
    with pytest.raises(RecipeError, match="is none; give more"):
        done("prune.depth(share=0.1)", llama, task)
    with pytest.raises(RecipeError, match="not among the 3 blocks"):
        done("prune.depth(layers='lm.model.layers.0.input_layernorm')", llama, task)


@pytest.mark.known_answer
def test_heads_and_widths_that_go_are_those_that_would_have_been_zero(llama, task):
    given = read(llama, task).inputs
    small = done("prune.structured(ratio=0.5, scope='uniform', round_to=1)", llama, task)
    for one, other in zip(small.lm.model.layers, llama.lm.model.layers, strict=True):
        assert one.self_attn.q_proj.weight.shape == (8, 16)
        assert one.self_attn.k_proj.weight.shape == one.self_attn.v_proj.weight.shape == (4, 16)
        assert one.mlp.gate_proj.weight.shape == one.mlp.up_proj.weight.shape == (12, 16)
        rows = {tuple(row) for row in other.mlp.up_proj.weight.tolist()}
        assert all(tuple(row) in rows for row in one.mlp.up_proj.weight.tolist())
    made = small.plain()
    assert (made.lm.config.num_attention_heads, made.lm.config.num_key_value_heads) == (2, 1)
    assert (made.lm.config.intermediate_size, made.lm.config.head_dim) == (12, 4)
    fresh = transformers.AutoModelForCausalLM.from_config(made.lm.config).eval()
    fresh.load_state_dict(made.lm.state_dict())
    assert torch.equal(fresh(input_ids=given.long(), use_cache=False)[0].mT, small(given))


@pytest.mark.known_answer
def test_layers_that_lie_the_other_way_round_get_narrower_as_their_configuration_says(tmp_path, task):
    with warnings.catch_warnings(action="ignore"):
        gpt2 = opening.open_module(str(language.random(tmp_path, "gpt2")), task)
    given = read(gpt2, task).inputs
    small = done("prune.structured(ratio=0.5, scope='uniform', round_to=1)", gpt2, task)
    made = small.plain()
    assert made.lm.config.n_inner == small.lm.transformer.h[0].mlp.c_fc.weight.shape[0] == 32
    assert made.lm.transformer.h[0].mlp.c_fc.weight.shape == (16, 32)
    fresh = transformers.AutoModelForCausalLM.from_config(made.lm.config).eval()
    fresh.load_state_dict(made.lm.state_dict())
    assert torch.allclose(fresh(input_ids=given.long(), use_cache=False)[0].mT, small(given), atol=1e-5)
    uneven = done("prune.structured(ratio=0.3, round_to=1)", gpt2, task)
    with pytest.raises(
        ArtifactError, match=r"h.[01].mlp.c_fc is a (Linear|Conv1D) of 16 to \d+, for which a configuration"
    ):
        uneven.plain()


def test_the_head_is_left_to_itself_and_named(tmp_path, task):
    with warnings.catch_warnings(action="ignore"):
        apart = opening.open_module(str(language.random(tmp_path, tie_word_embeddings=False)), task)
    for steps in ("prune.wanda()", FLOATS, "prune.magnitude(scope='layer')"):
        step = recipe.parse(steps)[0]
        small = recipe.apply(step, apart, task, torch.Generator())
        assert torch.equal(small.lm.lm_head.weight, apart.lm.lm_head.weight)
        assert {"lm.lm_head", "lm.model.embed_tokens"} <= set(recipe.left_alone(step, apart, small))


@pytest.mark.known_answer
def test_a_student_learns_every_token_of_its_windows(llama, task):
    given = read(llama, task)
    told = functional.log_softmax(llama(given.inputs), 1)

    def far(model):
        return float((told.exp() * (told - functional.log_softmax(model(given.inputs), 1))).sum(1).mean())

    cut = done("prune.depth(share=0.34)", llama, task)
    student = "student='prune.depth(share=0.34)', epochs=8, batch=4, rate=0.002, temperature=1.0, mix=1.0"
    taught = done(f"distill.logits({student})", llama, task)
    assert far(taught) < 0.7 * far(cut)
    assert len(taught.lm.model.layers) == 2


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("distill.tree()", "no tree says which token follows"),
        ("distill.soft_tree()", "no tree says which token follows"),
        ("decompose.tucker()", "use decompose.svd"),
        ("prune.obd()", "this Decoder stopped it"),
        ("train.adversarial()", "its inputs have no bounds"),
        ("quantize.uniform() > prune.wanda()", "put prune.wanda before"),
    ],
)
def test_a_method_that_cannot_take_a_language_model_says_so_in_one_line(steps, words, llama, task):
    with pytest.raises(WhatElseError, match=words) as caught:
        done(steps, llama, task)
    assert "\n" not in str(caught.value)


def test_half_precision_is_computed_in_float32_and_written_as_it_came(tmp_path, task):
    with warnings.catch_warnings(action="ignore"):
        place = language.random(tmp_path / "m")
        model = transformers.AutoModelForCausalLM.from_pretrained(place).to(torch.bfloat16)
        model.save_pretrained(place)
        half = opening.open_module(str(place), task)
    small = done("prune.wanda()", half, task)
    assert {p.dtype for p in small.parameters()} == {torch.float32}
    made = small.plain()
    assert {p.dtype for p in made.parameters()} == {torch.bfloat16}
    assert torch.equal(made.lm.model.norm.weight, model.model.norm.weight)
    back = codec.decode(*codec.encode(small))
    assert back.dtype == torch.bfloat16
