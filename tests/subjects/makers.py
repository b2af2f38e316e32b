"""What other tools make of a small network on digits, each by the real library."""

import io
import warnings
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune


class Net(nn.Module):
    """A small convolutional network; its layers are wide enough for every tool to treat them."""

    def __init__(self, width=8):
        super().__init__()
        self.conv1, self.norm, self.act1 = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        self.conv2, self.act2 = nn.Conv2d(width, 16, 3, stride=2, padding=1), nn.ReLU()
        self.hidden, self.act3, self.head = nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)

    def forward(self, x):
        x = self.act2(self.conv2(self.act1(self.norm(self.conv1(x)))))
        return self.head(self.act3(self.hidden(x.flatten(1))))


class Between(nn.Module):
    """A network between the stubs of torch's own quantization."""

    def __init__(self, inner):
        from torch.ao import quantization

        super().__init__()
        self.enter, self.inner, self.leave = quantization.QuantStub(), inner, quantization.DeQuantStub()

    def forward(self, x):
        return self.leave(self.inner(self.enter(x)))


def reopened(program, save, load):
    file = io.BytesIO()
    save(program, file)
    file.seek(0)
    return load(file)


def script(net, x):
    return torch.jit.script(net)


def trace(net, x):
    return torch.jit.trace(net, x[:4])


def frozen_script(net, x):
    return torch.jit.freeze(torch.jit.script(net))


def saved_script(net, x):
    return reopened(torch.jit.script(net), torch.jit.save, torch.jit.load)


def program(net, x, free=True):
    shapes = ({0: torch.export.Dim("n", min=1, max=4096)},) if free else None
    return torch.export.export(net, (x[:4],), dynamic_shapes=shapes)


def exported(net, x):
    return program(net, x).module()


def exported_alone(net, x):
    return torch.export.export(net, (x[:1],)).module()


def saved_program(net, x):
    return reopened(program(net, x), torch.export.save, torch.export.load).module()


def masked(net, x):
    prune.global_unstructured([(net.conv2, "weight"), (net.hidden, "weight")], prune.L1Unstructured, amount=0.3)
    return net


def fx_int8(net, x):
    from torch.ao import quantization
    from torch.ao.quantization import quantize_fx

    made = quantize_fx.prepare_fx(net, quantization.get_default_qconfig_mapping("x86"), (x[:4],))
    made(x)
    return quantize_fx.convert_fx(made)


def eager_int8(net, x):
    from torch.ao import quantization

    fused = quantization.fuse_modules(net, [["conv1", "norm", "act1"], ["conv2", "act2"], ["hidden", "act3"]])
    made = Between(fused).eval()
    made.qconfig = quantization.get_default_qconfig("x86")
    quantization.prepare(made, inplace=True)
    made(x)
    return quantization.convert(made, inplace=True)


def eager_dynamic(net, x):
    from torch.ao import quantization

    return quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)


def pt2e(net, x):
    from torchao.quantization.pt2e import quantize_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    made = quantize_pt2e.prepare_pt2e(program(net, x).module(), quantizer)
    made(x)
    return quantize_pt2e.convert_pt2e(made)


def torchao(config):
    def made(net, x):
        from torchao import quantization

        quantization.quantize_(net, config(quantization))
        return net

    return made


def quanto(**kinds):
    def made(net, x):
        q = pytest.importorskip("optimum.quanto")
        chosen = {name: getattr(q, kind) for name, kind in kinds.items()}
        q.quantize(net, **chosen)
        if "activations" in kinds:
            with torch.no_grad(), q.Calibration():
                net(x)
        q.freeze(net)
        return net

    return made


def replaced(make, *names):
    """Put another layer in place of linear ones."""

    def made(net, x):
        for name in names or ("hidden", "head"):
            net.set_submodule(name, make(net.get_submodule(name), x))
        return net.eval()

    return made


def eight_bits(layer, x):
    bnb = pytest.importorskip("bitsandbytes")
    new = bnb.nn.Linear8bitLt(layer.in_features, layer.out_features, has_fp16_weights=False)
    new.load_state_dict(layer.state_dict())
    return new.to("cpu")


def nf4(layer, x):
    bnb = pytest.importorskip("bitsandbytes")
    new = bnb.nn.Linear4bit(layer.in_features, layer.out_features, quant_type="nf4", compute_dtype=torch.float32)
    new.load_state_dict(layer.state_dict())
    return new.to("cpu")


def brevitas(layer, x):
    pytest.importorskip("brevitas")
    from brevitas.nn import QuantLinear

    new = QuantLinear(layer.in_features, layer.out_features, bias=True, weight_bit_width=4)
    new.load_state_dict(layer.state_dict())
    return new


def hqq(layer, x):
    core = pytest.importorskip("hqq.core.quantize")
    config = core.BaseQuantizeConfig(nbits=4, group_size=64)
    return core.HQQLinear(layer, config, compute_dtype=torch.float32, device="cpu")


def nncf_weights(net, x):
    nncf = pytest.importorskip("nncf")
    return nncf.compress_weights(net, dataset=nncf.Dataset([x[:4]]))


def nncf_all(net, x):
    nncf = pytest.importorskip("nncf")
    return nncf.quantize(net, nncf.Dataset([x[i : i + 8] for i in range(0, 64, 8)]))


KINDS = {
    "bfloat16": lambda net, x: net.bfloat16(),
    "half": lambda net, x: net.half(),
    "float64": lambda net, x: net.double(),
    "script": script,
    "trace": trace,
    "frozen script": frozen_script,
    "saved script": saved_script,
    "exported": exported,
    "exported for one": exported_alone,
    "saved program": saved_program,
    "compiled": lambda net, x: torch.compile(net, backend="eager"),
    "parallel": lambda net, x: nn.DataParallel(net),
    "masked": masked,
    "fx int8": fx_int8,
    "eager int8": eager_int8,
    "eager dynamic int8": eager_dynamic,
    "pt2e int8": pt2e,
    "torchao int8 weight-only": torchao(lambda q: q.Int8WeightOnlyConfig()),
    "torchao int8 dynamic": torchao(lambda q: q.Int8DynamicActivationInt8WeightConfig()),
    "torchao float8": torchao(lambda q: q.Float8WeightOnlyConfig()),
    "torchao intx": torchao(lambda q: q.IntxWeightOnlyConfig(torch.int4)),
    "quanto int8": quanto(weights="qint8"),
    "quanto int8 both": quanto(weights="qint8", activations="qint8"),
    "bitsandbytes int8": replaced(eight_bits),
    "bitsandbytes nf4": replaced(nf4, "hidden"),
    "brevitas 4 bits": replaced(brevitas),
    "nncf weights": nncf_weights,
    "nncf int8": nncf_all,
    "hqq 4 bits": replaced(hqq),
}


def make(kind, net, x):
    with warnings.catch_warnings(
        action="ignore"
    ):  # of deprecations, and of kernels that are not built for this processor
        return KINDS[kind](deepcopy(net), x)
