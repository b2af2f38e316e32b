"""Models as other tools make them, under the questions that are asked where none are given."""

import warnings
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

import whatelse
from whatelse.auditing import questions
from whatelse.models import take
from whatelse.tasks.task import Split, Task

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

COUNT, CLASSES = 120, 3
# What attacks find is held elsewhere: here they only have to run.
SHORT = (
    questions.default()
    .replace("settings = { examples = 1000 }", "settings = { examples = 12, steps = 4 }")
    .replace('"leakage.inversion"', '"leakage.inversion"\nsettings = { images = 1, iterations = 3 }')
)
# Where one gives no gradient both are asked by their answers.
EXPLAINED = ["attribution agreement", "attribution agreement (Shapley values)"]
LAYERS = ["similarity of representations (CKA)", "what a frozen probe still reads"]
PRIVATE = ["input rebuilt from its gradient (PSNR)"]
# What the task has not, and what the costs of strange tensors are, is not asked here.
OTHERS = {"memorized wrong labels", "attribution quality (pixel AUC)", "parameters", "bytes", "multiply-accumulates"}


class Net(nn.Module):
    """A small convolutional network."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.head = nn.Linear(4 * 36, CLASSES)

    def forward(self, x):
        return self.head(self.act(self.norm(self.conv(x))).flatten(1))


class Around(nn.Module):
    """A network inside a forward of another form."""

    def __init__(self, inner, way):
        super().__init__()
        self.inner = inner
        self.way = way

    def forward(self, x):
        return self.way(self.inner, x)


class Packing(nn.Module):
    """A network between the stubs of torch's own quantization."""

    def __init__(self, inner, quantization):
        super().__init__()
        self.enter, self.inner, self.leave = quantization.QuantStub(), inner, quantization.DeQuantStub()

    def forward(self, x):
        return self.leave(self.inner(self.enter(x)))


def quietly(make):
    def made(net, x):
        with warnings.catch_warnings(action="ignore"):  # torch says of each of these that something newer is coming
            return make(net, x)

    return made


def masked(net, x):
    del x
    prune.global_unstructured([(net.conv, "weight"), (net.head, "weight")], prune.L1Unstructured, amount=0.3)
    return net


def normed(net, x):
    torch.nn.utils.weight_norm(net.conv)
    parametrizations.weight_norm(net.head)
    net(x[:2])
    return net


def eager(net, x):
    from torch.ao import quantization

    made = Packing(quantization.fuse_modules(net, [["conv", "norm", "act"]]), quantization).eval()
    made.qconfig = quantization.get_default_qconfig("x86")
    quantization.prepare(made, inplace=True)
    made(x)
    return quantization.convert(made, inplace=True)


def by_graph(net, x):
    from torch.ao import quantization
    from torch.ao.quantization import quantize_fx

    made = quantize_fx.prepare_fx(net, quantization.get_default_qconfig_mapping("x86"), (x[:4],))
    made(x)
    return quantize_fx.convert_fx(made)


def dynamic(net, x):
    del x
    from torch.ao import quantization

    return quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)


def exported(net, x):
    return torch.export.export(net, (x[:4],), dynamic_shapes=({0: torch.export.Dim("n")},)).module()


def autocast(inner, x):
    with torch.autocast("cpu", torch.bfloat16):
        return inner(x)


# By name: what makes a model of the network, and which questions cannot be answered of it.
KINDS = {
    "masks": (masked, []),
    "norms": (normed, []),
    "eager int8": (eager, PRIVATE),
    "graph int8": (by_graph, PRIVATE),
    "dynamic int8": (dynamic, PRIVATE),
    "script": (lambda net, x: torch.jit.script(net), LAYERS),
    "trace": (lambda net, x: torch.jit.trace(net, x[:4]), LAYERS),
    "exported": (exported, LAYERS),
    "compiled": (lambda net, x: torch.compile(net, backend="eager"), []),
    "parallel": (lambda net, x: nn.DataParallel(net), []),
    "half": (lambda net, x: net.half(), []),
    "bfloat16": (lambda net, x: net.bfloat16(), []),
    "float64": (lambda net, x: net.double(), []),
    "autocast": (lambda net, x: Around(net, autocast), []),
    "mapping": (lambda net, x: Around(net, lambda inner, x: {"logits": inner(x)}), []),
    "sigmoids": (lambda net, x: Around(net, lambda inner, x: inner(x).sigmoid()), []),
    "views": (lambda net, x: Around(net, lambda inner, x: inner(x.view(-1).view(x.shape))), []),
    "squeezed": (lambda net, x: Around(net, lambda inner, x: inner(x).squeeze()), []),
    "no gradient": (lambda net, x: Around(net, torch.no_grad()(lambda inner, x: inner(x))), PRIVATE),
}


@pytest.fixture(scope="module")
def task():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(COUNT) % CLASSES
    rows = (torch.arange(6)[None] == 2 * y[:, None]).float()[:, None, :, None]
    x = (0.6 * torch.rand(COUNT, 1, 6, 6, generator=rng) + 0.35 * rows).clamp(0, 1)
    split = Split(x, y, y, {"g": torch.arange(COUNT) % 2})
    return Task("t", CLASSES, (0.0, 1.0), dict.fromkeys(("train", "calibration", "select", "test"), split))


@pytest.fixture(scope="module")
def net(task):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        made = Net()
    step = torch.optim.Adam(made.parameters(), 0.01)
    for _ in range(25):
        step.zero_grad()
        functional.cross_entropy(made(task.train.inputs), task.train.targets).backward()
        step.step()
    return made.eval()


def by_hand(model, x):
    """The scores as the owner of the model would have them."""
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), x.dtype)
    said = model(x.to(kind))
    said = said["logits"] if isinstance(said, dict) else said
    return torch.logit(said) if float(said.min()) >= 0 and float(said.max()) <= 1 else said.float()


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_another_tool_is_measured_in_what_it_allows(kind, net, task):
    make, lacks = KINDS[kind]
    x, y = task.test.inputs, task.test.targets
    model = quietly(make)(deepcopy(net), x)
    before = [getattr(part, "training", None) for part in model.modules()]
    with torch.no_grad():
        want = by_hand(model, x)
    asked = questions.read_questions("draws = 100\n" + SHORT)
    asked = replace(asked, measurements=[m for m in asked.measurements if m.label not in OTHERS])
    with warnings.catch_warnings():  # of torch, on what is asked
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        found = whatelse.audit(net, {"c": model}, task, asked)
    assert found.failed == ()
    told = {f.label: f for f in found.findings if f.leading}
    unasked = {label: told[label].why for label in (*PRIVATE, *LAYERS) if told[label].after is None}
    assert list(unasked) == lacks, unasked
    assert [told[label].after is not None for label in EXPLAINED if label in told] == [True]
    assert all("\n" not in f.why for f in told.values())
    assert told["accuracy"].after == pytest.approx(float((want.argmax(1) == y).float().mean()))
    assert told["negative log-likelihood"].after == pytest.approx(float(functional.cross_entropy(want, y)), rel=1e-3)
    assert before == [getattr(part, "training", None) for part in model.modules()]


def test_the_key_of_a_model_follows_all_its_numbers(net, task):
    other = deepcopy(net)
    with torch.no_grad():
        other.head.weight[1, 70] += 1e-3  # in the middle, which a printed tensor leaves out
    assert take.key_of(other, task) != take.key_of(net, task)
    assert take.key_of(deepcopy(net), task) == take.key_of(net, task)
    packed = [quietly(eager)(deepcopy(one), task.test.inputs) for one in (net, net, other)]
    assert take.key_of(packed[0], task) == take.key_of(packed[1], task)
