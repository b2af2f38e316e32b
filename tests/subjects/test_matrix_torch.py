"""Torch models that other tools made, each by its real library, audited against the float model that it was made of."""

import importlib.util
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import whatelse
from whatelse import opening
from whatelse.auditing import questions

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

_SPEC = importlib.util.spec_from_file_location("makers", Path(__file__).parent / "makers.py")
makers = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(makers)

# What attacks find is held elsewhere: here they only have to run.
SHORT = (
    questions.default()
    .replace("settings = { examples = 1000 }", "settings = { examples = 12, steps = 4 }")
    .replace('"leakage.inversion"', '"leakage.inversion"\nsettings = { images = 1, iterations = 3 }')
    .replace('map = "kernel shap", examples = 100', 'map = "kernel shap", examples = 12')
    .replace("queries = 500", "queries = 100, examples = 12")
)
ATTRIBUTION, NEAREST = "attribution agreement", "distance to the nearest adversarial point"
REBUILT = "input rebuilt from its gradient (PSNR)"
CKA, PROBE = "similarity of representations (CKA)", "what a frozen probe still reads"
PARAMETERS, BYTES, MACS = "parameters", "bytes", "multiply-accumulates"
BLACK = {
    "accuracy",
    "macro accuracy",
    "harmed (right before, wrong after)",
    "negative log-likelihood",
    "squared calibration error (debiased)",
    "worst group accuracy",
    "membership by loss threshold (AUC, lower bound)",
}
# Where the model gives no gradient the two that follow one are asked by answers.
EXPLAINED = {ATTRIBUTION, f"{ATTRIBUTION} (Shapley values)"}
ATTACKED = {NEAREST, f"{NEAREST} by labels"}
GRADIENTS, LAYERS = {REBUILT}, {CKA, PROBE}
# Not for so few digits, or not of this data.
OTHERS = {
    "memorized wrong labels",
    "attribution quality (pixel AUC)",
    "attribution quality (Shapley values, pixel AUC)",
    "accuracy gap",
}
PRODUCTS = 64 * 72 + 16 * 1152 + 64 * 256 + 10 * 64  # of the four layers, at every place of the image
COUNTS = {"conv1": 72, "conv2": 1152, "hidden": 256 * 64, "head": 640}
CHANNELS = 8 + 16 + 64 + 10
NORM, STATISTICS = 2 * 8, 2 * 8 * 4 + 8
FLOATS = 4 * (sum(COUNTS.values()) + CHANNELS + NORM) + STATISTICS
SCRIPT, EXPORTED = "is a TorchScript program", "is an exported program"
QUANTIZED = ("conv1", "conv2", "hidden", "head")
LINEAR = ("hidden", "head")


def stored(bits, layers=LINEAR, folded=False, beside=0):
    """Bytes where the weights of some layers are codes: biases, norms and other weights are floats."""
    codes = sum(COUNTS[name] * bits // 8 for name in layers)
    floats = 4 * (sum(n for name, n in COUNTS.items() if name not in layers) + CHANNELS)
    return codes + floats + beside + (0 if folded else 4 * NORM + STATISTICS)


# By name: which questions cannot be answered, bytes, how much more of them scales and the like may take, and what is
# said of it.
ALL = {
    "bfloat16": (set(), 2 * (FLOATS - STATISTICS) // 4 + STATISTICS // 2 + 4, 0, "its own type, bfloat16"),
    "half": (set(), 2 * (FLOATS - STATISTICS) // 4 + STATISTICS // 2 + 4, 0, "its own type, float16"),
    "float64": (set(), 2 * FLOATS - 8, 0, "its own type, float64"),
    "script": (LAYERS, FLOATS, 0, ""),
    "trace": (LAYERS, FLOATS, 0, ""),
    "frozen script": ({*LAYERS, REBUILT}, FLOATS - STATISTICS - 4 * NORM, 0, ""),
    "saved script": (LAYERS, FLOATS, 0, ""),
    "exported": (LAYERS, FLOATS, 0, "has a fixed mode"),
    "exported for one": (LAYERS, FLOATS, 0, "no more than one example at a time"),
    "saved program": (LAYERS, FLOATS, 0, "has a fixed mode"),
    "compiled": (set(), FLOATS, 0, "asked is the module inside"),
    "parallel": (set(), FLOATS, 0, "asked is the module inside"),
    "masked": (set(), None, 0, ""),
    "fx int8": (GRADIENTS, stored(8, QUANTIZED, folded=True, beside=16 * CHANNELS), 0.01, ""),
    "eager int8": (GRADIENTS, stored(8, QUANTIZED, folded=True, beside=16 * CHANNELS), 0.01, ""),
    "eager dynamic int8": ({REBUILT}, stored(8), 0.01, ""),
    "pt2e int8": ({*GRADIENTS, *LAYERS}, None, 0, "has a fixed mode"),
    "torchao int8 weight-only": ({REBUILT}, stored(8, beside=4 * 74), 0.01, ""),
    "torchao int8 dynamic": ({REBUILT}, stored(8, beside=4 * 74), 0.01, ""),
    "torchao float8": ({REBUILT}, stored(8, beside=4 * 74), 0.01, ""),
    "torchao intx": ({REBUILT}, stored(8, beside=5 * 74), 0.01, ""),
    "quanto int8": ({REBUILT}, stored(8, QUANTIZED, beside=4 * CHANNELS), 0.01, "measured itself and set back"),
    "quanto int8 both": (GRADIENTS, stored(8, QUANTIZED, beside=4 * CHANNELS), 0.01, "measured itself and set back"),
    "bitsandbytes int8": ({*GRADIENTS, PARAMETERS}, stored(8, beside=4 * 74), 0.01, ""),
    "bitsandbytes nf4": ({*GRADIENTS, PARAMETERS}, stored(4, ("hidden",)), 0.05, ""),
    "brevitas 4 bits": (set(), FLOATS, 0.01, ""),
    "nncf weights": ({REBUILT, PARAMETERS}, stored(8, QUANTIZED, beside=2 * CHANNELS), 0.01, ""),
    "nncf int8": ({*GRADIENTS, PARAMETERS}, FLOATS, 0.05, ""),
    "hqq 4 bits": ({REBUILT, PARAMETERS}, stored(4, beside=8 * 266), 0.01, ""),
}
BY_BATCH = {
    "eager dynamic int8"
}  # its scale is that of a whole batch, and batches are others where only scores are known
SLOW = {"nncf int8"}  # compiles kernels of its own where it runs first


@pytest.fixture(scope="module")
def task():
    whole = opening.load_task("digits")
    kept = {name: split.take(torch.arange(min(120, len(split)))) for name, split in whole.splits.items()}
    return replace(whole, splits=kept)


@pytest.fixture(scope="module")
def net():
    whole = opening.load_task("digits").train
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        made = makers.Net()
    step = torch.optim.Adam(made.parameters(), 0.01)
    for _ in range(30):
        step.zero_grad()
        functional.cross_entropy(made(whole.inputs), whole.targets).backward()
        step.step()
    return made.eval()


@pytest.fixture(scope="module")
def asked():
    found = questions.read_questions("draws = 100\n" + SHORT)
    return replace(found, measurements=[m for m in found.measurements if m.label not in OTHERS])


@torch.no_grad()
def by_hand(model, x):
    """The scores as the owner of the model has them: one by one where that is what it was exported for."""
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), x.dtype)
    try:
        return model(x.to(kind)).float()
    except AssertionError:
        return torch.cat([model(row[None].to(kind)) for row in x]).float()


def state(model):
    """What must be the same after an audit: modes, what requires gradients, hooks, numbers."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parts = list(model.modules())
    return {
        "modes": [getattr(part, "training", None) for part in parts],
        "gradients": [(p.requires_grad, p.grad is None) for p in model.parameters()],
        "hooks": [len(getattr(part, name)) for part in parts if not scripted(part) for name in hooks],
        "numbers": [repr(numbers(t)) for t in (*model.parameters(), *model.buffers())],
    }


def scripted(part):
    return isinstance(part, torch.jit.ScriptModule)


def numbers(tensor):
    dense = tensor.detach()
    dense = dense.dequantize() if type(tensor) not in {torch.Tensor, torch.nn.Parameter} else dense
    return dense.double().flatten().tolist() if dense.dim() else float(dense)


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in ALL])
def test_a_model_of_another_tool_is_audited_in_what_it_allows(kind, net, task, asked, caplog):
    lacks, size, more, said = ALL[kind]
    with caplog.at_level("ERROR"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those libraries, of what is to come and of kernels that they lack
        model = makers.make(kind, net, opening.load_task("digits").calibration.inputs[:64])
        want, before = by_hand(model, task.test.inputs), state(model)
        found = whatelse.audit(net, {"c": model}, task, asked)
        again = by_hand(model, task.test.inputs)
    assert found.failed == ()
    told = {f.label.partition(" (multiples")[0]: f for f in found.findings if f.leading}
    silent = {label: f.why for label, f in told.items() if f.after is None}
    assert set(silent) == lacks, silent
    assert len(EXPLAINED & set(told)) == len(ATTACKED & set(told)) == 1
    assert all(why and "\n" not in why for why in silent.values())
    programs = SCRIPT if "script" in kind or kind == "trace" else EXPORTED
    assert all(programs in silent[label] for label in LAYERS & lacks)

    y = task.test.targets
    right, own = want.argmax(1) == y, net(task.test.inputs)
    assert told["accuracy"].after == pytest.approx(float(right.float().mean()))
    assert told["negative log-likelihood"].after == pytest.approx(float(functional.cross_entropy(want, y)), abs=3e-4)
    harmed = told["harmed (right before, wrong after)"]
    assert harmed.after == pytest.approx(float(((own.argmax(1) == y) & ~right).float().mean()))
    assert_same_from_outside(model, net, task, asked, told, close=3e-3 if kind in BY_BATCH else 3e-4)

    assert told[MACS].before == told[MACS].after == PRODUCTS
    assert told[BYTES].before == FLOATS
    if size:
        assert size <= told[BYTES].after <= size * (1 + more), told[BYTES].after
    if PARAMETERS not in lacks:
        assert told[PARAMETERS].after == weights_left(kind, net, model)
    remarks = "; ".join((*next(c.remarks for c in found.candidates if c.name == "c"), *told["accuracy"].validity))
    assert said in remarks
    assert before == state(model)
    assert torch.equal(again, want)


class Own:
    """Nothing but the predictions that the library itself makes."""

    def __init__(self, model):
        self.model = model
        self.key = f"own-{id(model)}"

    def scores(self, inputs):
        return by_hand(self.model, inputs.clone())


def assert_same_from_outside(model, net, task, asked, told, close):
    """Every number that needs predictions alone is that of the library's own predictions."""
    few = replace(asked, measurements=[m for m in asked.measurements if m.label in BLACK])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = whatelse.audit(net, {"own": Own(model)}, task, few)
    assert {f.label for f in found.findings if f.leading} == BLACK
    for finding in (f for f in found.findings if f.leading):
        assert finding.after == pytest.approx(told[finding.label].after, rel=1e-3, abs=close), finding.label


def weights_left(kind, net, model):
    """Count the weights that are not zero, each kind by its own library."""
    plain = sum(int(p.count_nonzero()) for p in net.parameters())
    if kind in {"bfloat16", "half"}:  # small ones may become zero
        return sum(int(p.count_nonzero()) for p in model.parameters())
    if kind == "frozen script":
        return plain - NORM
    if kind == "masked":
        return sum(
            int((p * dict(model.named_buffers()).get(n.replace("_orig", "_mask"), 1)).count_nonzero())
            for n, p in model.named_parameters()
        )
    if kind in {"fx int8", "eager int8", "eager dynamic int8", "pt2e int8"}:
        return plain_codes(kind, net, model)
    if kind.startswith(("torchao", "quanto")):
        dense = [p.dequantize() if type(p) is not torch.nn.Parameter else p for p in model.parameters()]
        return sum(int(p.count_nonzero()) for p in dense)
    return plain


def plain_codes(kind, net, model):
    if kind == "pt2e int8":
        codes = sum(int((b != 0).sum()) for n, b in model.named_buffers() if n.startswith("_frozen_param"))
        return codes + sum(int(net.get_submodule(n).bias.count_nonzero()) for n in QUANTIZED)
    parts = [m for m in model.modules() if callable(getattr(m, "weight", None))]
    weights = [m.weight() for m in parts] + [m.bias() for m in parts]
    rest = [p for n, p in model.named_parameters() if kind == "eager dynamic int8"]
    return sum(int(w.dequantize().count_nonzero()) for w in weights) + sum(int(p.count_nonzero()) for p in rest)
