"""Kinds of model that are no torch modules, each made by its own library, held against that library's own answers."""

import math
import re
import shutil
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from whatelse import items, limits, opening, recipe
from whatelse.artifacts import formats
from whatelse.errors import ArtifactError, NotMeasurableError, TaskError
from whatelse.evidence.cache import Evidence
from whatelse.models import onnx_work, take
from whatelse.models.preparation import Preparation, Way
from whatelse.study import handed
from whatelse.tasks.task import SPLITS, Split, Task

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

FLOATS = ("float.onnx", "external.onnx", "fixed.onnx", "soft.onnx", "linear.onnx")
QUANTIZED = ("dynamic.onnx", "unsigned.onnx", "qdq.onnx", "qoperator.onnx", "nbits.onnx")


def taken(path, task, batch=0):
    given = opening.open_model(str(path), task)
    return take.take(given, path.name, given.key, task, torch.Generator().manual_seed(0), Way(batch))


def by_onnxruntime(path, inputs, batch):
    """The answers of onnxruntime itself, batch by batch in order."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: part.numpy()})[0] for part in torch.split(inputs, batch)])


def arrays(path):
    model = onnx.load(path)
    constants = [a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"]
    return {t.name: onnx.numpy_helper.to_array(t) for t in (*model.graph.initializer, *constants)}


@pytest.mark.known_answer
@pytest.mark.parametrize("name", [*FLOATS, *QUANTIZED])
def test_onnx_answers_as_onnxruntime_does(folder, digits, name):
    x = digits.test.inputs[:25]
    model = taken(folder / name, digits)
    assert model.offers == {"predicts"}
    assert model.alone == (name in {"dynamic.onnx", "unsigned.onnx"})
    theirs = by_onnxruntime(folder / name, x, 1 if model.alone else 5)
    theirs = np.log(theirs) if name == "soft.onnx" else theirs
    mine = Evidence(model, digits).answers(x)
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, torch.from_numpy(theirs), rtol=1e-5, atol=1e-5)


@pytest.mark.known_answer
@pytest.mark.parametrize("name", [*FLOATS, *QUANTIZED])
def test_onnx_counts_the_bytes_that_are_stored(folder, digits, name):
    assert sum(taken(folder / name, digits).stores.stored_bytes()) == sum(
        a.nbytes for a in arrays(folder / name).values()
    )


def multiplied(given, task):
    item = items.behaviour("efficiency.macs")
    model = take.take(given, "m", "m", task, torch.Generator().manual_seed(0))
    evidence = Evidence(model, task)
    return int(item.answer(evidence, evidence, item.config(), torch.Generator())["macs"].sum())


@pytest.mark.known_answer
@pytest.mark.parametrize("name", ["float.onnx", "external.onnx", "fixed.onnx", "soft.onnx", *QUANTIZED])
def test_onnx_multiplies_what_the_module_does_that_it_was_made_of(folder, digits, net, name):
    """Codes of any kind take the place of numbers, and nothing of the arithmetic changes."""
    want = 64 * 10 if name in {"unsigned.onnx", "nbits.onnx"} else multiplied(net, digits)
    assert multiplied(opening.open_model(str(folder / name), digits), digits) == want


def test_a_file_too_large_to_be_looked_into_is_not_loaded(folder, digits, monkeypatch):
    given = opening.open_model(str(folder / "external.onnx"), digits)
    monkeypatch.setattr(onnx_work, "_LARGEST", 1000)
    monkeypatch.setattr(onnx, "load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(NotMeasurableError, match=r"needs a file of less than 2 GiB .*; external.onnx holds more"):
        given.multiplied()


@pytest.mark.known_answer
def test_convolutions_of_every_form_multiply_as_torch_says(tmp_path):
    class Forms(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.grouped = torch.nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2)
            self.turned = torch.nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
            self.mixed = torch.nn.Linear(6, 5)
            self.head = torch.nn.Linear(5 * 64, 3)

        def forward(self, x):
            x = self.mixed(self.turned(self.grouped(x).relu()).permute(0, 2, 3, 1))
            return self.head((x @ x.transpose(-1, -2).softmax(-1) @ x).flatten(1))

    rng = torch.Generator().manual_seed(0)
    split = Split(torch.rand(40, 4, 8, 8, generator=rng), *[torch.arange(40) % 3] * 2)
    task = Task("forms", 3, (0.0, 1.0), dict.fromkeys(SPLITS, split))
    net = Forms().eval()
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            net, (split.inputs[:1],), tmp_path / "m.onnx", dynamo=True, external_data=False, verbose=False
        )
    assert multiplied(opening.open_model(str(tmp_path / "m.onnx"), task), task) == multiplied(net, task)


def test_arithmetic_that_is_not_known_is_not_measurable(folder, digits, tmp_path):
    model = onnx.load(folder / "float.onnx")
    last = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["scores" if name == last else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Einsum", ["scores"], [last], equation="ij->ij"))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(NotMeasurableError, match="needs operations whose arithmetic is known; m.onnx runs Einsum"):
        multiplied(opening.open_model(str(tmp_path / "m.onnx"), digits), digits)
    model.graph.node.pop()
    gain = onnx.numpy_helper.from_array(np.linspace(1, 2, 10, dtype=np.float32), "gain")
    model.graph.initializer.append(gain)
    model.graph.node.append(onnx.helper.make_node("Mul", ["scores", "gain"], ["gained"]))
    model.graph.node.append(onnx.helper.make_node("ReduceSum", ["gained"], ["summed"], keepdims=1))
    model.graph.node.append(onnx.helper.make_node("Sub", ["scores", "summed"], [last]))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(NotMeasurableError, match="runs Mul, then ReduceSum"):
        multiplied(opening.open_model(str(tmp_path / "m.onnx"), digits), digits)


@pytest.mark.known_answer
def test_onnx_counts_the_weights_that_are_not_zero(folder, digits, net):
    def count(name):
        return sum(taken(folder / name, digits).stores.stored_weights())

    floats = sum(int(p.count_nonzero()) for p in net.parameters())
    assert [count(name) for name in FLOATS[:4]] == [floats] * 4
    assert count("linear.onnx") == 64 * 10 - 3 * 10 + 10
    # What multiplies is seen from outside: the answer to one pixel less that to none.
    ones = torch.cat([torch.zeros(1, 64), torch.eye(64)]).reshape(65, 1, 8, 8)
    for name in ("nbits.onnx", "unsigned.onnx"):
        said = by_onnxruntime(folder / name, ones, 65)
        assert count(name) == np.count_nonzero((said[1:] - said[0]).round(6)) + np.count_nonzero(said[0]), name
    for name in ("dynamic.onnx", "qdq.onnx", "qoperator.onnx"):
        held = arrays(folder / name)
        codes = [a for n, a in held.items() if a.dtype == np.int8 and a.size > 1]
        bias = [a for n, a in held.items() if "bias" in n and a.size in {4, 32, 10} and a.dtype.itemsize == 4]
        bias = [a for a in bias if a.dtype == bias[-1].dtype]  # as codes, not the scales of them
        zero = [held[n.replace("_quantized", "_zero_point")] for n in held if n.endswith("weight_quantized")]
        assert all(not z.any() for z in zero)
        wanted = sum(map(np.count_nonzero, [*codes, *bias]))
        assert wanted < floats
        assert count(name) == wanted, name


@pytest.mark.known_answer
def test_a_batch_that_was_declared_is_kept_and_what_it_moves_is_told(folder, digits):
    path = folder / "dynamic.onnx"
    few = replace(digits, splits={**digits.splits, "test": digits.test.take(torch.arange(60))})
    model = taken(path, few, batch=8)
    theirs = by_onnxruntime(path, few.test.inputs, 8)
    torch.testing.assert_close(Evidence(model, few).logits(), torch.from_numpy(theirs), rtol=0, atol=1e-6)
    alone = by_onnxruntime(path, few.test.inputs, 1)
    torch.testing.assert_close(Evidence(taken(path, few), few).logits(), torch.from_numpy(alone), rtol=0, atol=1e-6)
    assert not np.allclose(alone, theirs, atol=1e-6)
    assert re.search(r"depend on the rest of the batch, by up to 0\.\d+ of .* in batches of 8", model.remarks[-1])
    assert "asked one example at a time; --batch N" in taken(path, few).remarks[-1]
    assert "one at a time, as --batch 1 says" in taken(path, few, batch=1).remarks[-1]
    assert not taken(folder / "float.onnx", few, batch=8).remarks
    keys = {handed.key_of(str(path), few, opening.open_model(str(path), few), Way(n)) for n in (0, 1, 8)}
    assert len(keys) == 3


def test_a_batch_that_would_go_in_pieces_is_refused(folder, digits):
    made = taken(folder / "fixed.onnx", digits, batch=5)
    assert (made.batch, made.source.most) == (5, 5)
    with pytest.raises(
        TaskError, match="--batch 8: .* is asked at most 5 examples at once, and more would go in pieces"
    ):
        taken(folder / "fixed.onnx", digits, batch=8)


def test_a_key_says_what_all_files_hold(folder, digits, tmp_path):
    for name in ("external.onnx", "external.onnx.data"):
        shutil.copy(folder / name, tmp_path / name)
    before = opening.open_model(str(tmp_path / "external.onnx"), digits).key
    held = bytearray((tmp_path / "external.onnx.data").read_bytes())
    held[3] ^= 1
    (tmp_path / "external.onnx.data").write_bytes(held)
    assert opening.open_model(str(tmp_path / "external.onnx"), digits).key != before


def test_damaged_and_incomplete_onnx_is_one_line(folder, digits, tmp_path):
    def refused(why, name="m.onnx"):
        with pytest.raises(ArtifactError, match=why) as caught:
            opening.open_model(str(tmp_path / name), digits)
        assert "\n" not in str(caught.value)

    shutil.copy(folder / "external.onnx", tmp_path / "m.onnx")
    refused(r"are in external.onnx.data, which is not there; put it beside m.onnx")
    (tmp_path / "external.onnx.data").write_bytes((folder / "external.onnx.data").read_bytes()[:-50])
    refused(r"end at byte .* of external.onnx.data, which has .*; it is cut off")
    whole = (folder / "float.onnx").read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "m.onnx").write_bytes(whole[:cut])
        refused("no ONNX model that can be read")
    outside = onnx.load(folder / "external.onnx", load_external_data=False)
    for tensor in outside.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../x.data" if entry.key == "location" else entry.value
    onnx.save(outside, tmp_path / "m.onnx")
    refused(r"said to be in '../x.data'; a file beside m.onnx is needed")
    refused("no such file", "none.onnx")
    with pytest.raises(ArtifactError, match="has its own weights"):
        opening.open_model(str(folder / "float.onnx"), digits, "w.pt")


def test_other_shapes_classes_and_inputs_are_refused(folder, digits, tmp_path):
    wide = {name: replace(s, inputs=s.inputs.repeat(1, 1, 2, 1)) for name, s in digits.splits.items()}
    with pytest.raises(
        TaskError, match=r"takes inputs of shape \(1, 8, 8\); the data have \(1, 16, 8\); say --resize MODEL=8x8"
    ):
        opening.open_model(str(folder / "float.onnx"), replace(digits, splits=wide))
    turned = {name: replace(s, inputs=s.inputs.permute(0, 2, 3, 1)) for name, s in digits.splits.items()}
    with pytest.raises(TaskError, match=r"the data have \(8, 8, 1\); the data's channels come last: turn them"):
        opening.open_model(str(folder / "float.onnx"), replace(digits, splits=turned))
    more = replace(digits, classes=11)
    with pytest.raises(TaskError, match="scores of 10 classes; the data have 11: label 10 is none of its classes"):
        taken(folder / "float.onnx", more)
    model = onnx.load(folder / "float.onnx")
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    cast = onnx.helper.make_node("Cast", [model.graph.input[0].name], ["floats"], to=onnx.TensorProto.FLOAT)
    for node in model.graph.node:
        node.input[:] = ["floats" if name == model.graph.input[0].name else name for name in node.input]
    model.graph.node.insert(0, cast)
    onnx.save(model, tmp_path / "bytes.onnx")
    with pytest.raises(
        TaskError, match="takes inputs of type uint8; the data are floating-point numbers .*--pixels MODEL=uint8"
    ):
        taken(tmp_path / "bytes.onnx", digits)
    way = Way(prepare=Preparation(pixels="uint8"))
    whole = (digits.test.inputs[:9] * 255).round()
    found = handed.opened(str(tmp_path / "bytes.onnx"), "m", digits, way).scores(digits.test.inputs[:9])
    theirs = by_onnxruntime(tmp_path / "bytes.onnx", whole.to(torch.uint8), 9)
    torch.testing.assert_close(found, torch.from_numpy(theirs), rtol=1e-5, atol=1e-4)


@pytest.mark.known_answer
def test_behind_its_preparation_onnx_is_the_model_that_it_is(folder, digits):
    large = {
        n: replace(s, inputs=s.inputs.repeat_interleave(2, 2).repeat_interleave(2, 3)) for n, s in digits.splits.items()
    }
    task = replace(digits, splits=large)
    prepare = Preparation(resize=(8, 8), mean=(0.25,), std=(0.5,))
    model = handed.opened(str(folder / "dynamic.onnx"), "m", task, Way(prepare=prepare))
    x = prepare(task.test.inputs[:12])
    torch.testing.assert_close(
        take.take(model, "m", "k", task, torch.Generator().manual_seed(0), Way(4)).source.scores(task.test.inputs[:4]),
        torch.from_numpy(by_onnxruntime(folder / "dynamic.onnx", x[:4], 4)),
        rtol=0,
        atol=1e-5,
    )
    bare = opening.open_model(str(folder / "dynamic.onnx"), digits)
    assert (model.key, model.told, model.mixes) == (bare.key, bare.told, True)
    assert list(model.stored_bytes()) == list(bare.stored_bytes())
    assert take.take(model, "m", "k", task, torch.Generator().manual_seed(0)).alone


@pytest.mark.known_answer
@pytest.mark.parametrize("zipmap", [True, False])
def test_a_forest_that_was_converted_answers_as_the_forest(digits, tmp_path, zipmap):
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier

    flat = replace(digits, splits={n: replace(s, inputs=s.inputs.flatten(1)) for n, s in digits.splits.items()})
    forest = RandomForestClassifier(7, max_depth=4, random_state=0)
    forest.fit(flat.train.inputs.numpy(), flat.train.targets.numpy())
    made = convert_sklearn(forest, initial_types=[("x", FloatTensorType([None, 64]))], options={"zipmap": zipmap})
    (tmp_path / "forest.onnx").write_bytes(made.SerializeToString())
    model = taken(tmp_path / "forest.onnx", flat)
    x = flat.test.inputs[:50]
    probabilities = model.source.scores(x).softmax(1).numpy()
    np.testing.assert_allclose(probabilities, forest.predict_proba(x.numpy()), atol=1e-5)
    trees = [one.tree_ for one in forest.estimators_]
    inner = sum(np.count_nonzero(t.threshold[t.children_left != -1]) for t in trees)
    leaves = sum(np.count_nonzero(t.value[t.children_left == -1]) for t in trees)
    assert sum(model.stores.stored_weights()) == inner + leaves


@pytest.mark.known_answer
def test_openvino_answers_as_openvino_does_in_single_precision(folder, digits, net):
    x = digits.test.inputs[:25]
    compiled = openvino.Core().compile_model(str(folder / "float.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    model = taken(folder / "float.xml", digits)
    torch.testing.assert_close(model.source.scores(x), torch.from_numpy(compiled(x.numpy())[0]), rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(model.source.scores(x), net(x), rtol=0, atol=1e-4)
    assert "on one thread in f32" in model.source.told[0]
    assert model.offers == {"predicts"}
    params = sum(p.numel() for p in net.parameters())
    half = taken(folder / "half.xml", digits)
    assert [sum(m.stores.stored_weights()) for m in (model, half)] == [params, params]
    sizes = [sum(m.stores.stored_bytes()) for m in (model, half)]
    assert sizes[0] == (folder / "float.bin").stat().st_size or 0 <= sizes[0] - 4 * params < 64
    assert sizes[0] - sizes[1] == 2 * params


def test_damaged_and_incomplete_openvino_is_one_line(folder, digits, tmp_path):
    text = (folder / "float.xml").read_bytes()
    (tmp_path / "m.xml").write_bytes(text)
    with pytest.raises(ArtifactError, match=r"its weights are in m.bin, which is not there; put it beside m.xml"):
        opening.open_model(str(tmp_path / "m.xml"), digits)
    held = (folder / "float.bin").read_bytes()
    for kept, cut in ((held, text[:200]), (held[:-40], text)):
        (tmp_path / "m.bin").write_bytes(kept)
        (tmp_path / "m.xml").write_bytes(cut)
        with pytest.raises(ArtifactError, match="OpenVINO cannot run it") as caught:
            opening.open_model(str(tmp_path / "m.xml"), digits)
        assert "\n" not in str(caught.value)


def test_arithmetic_of_other_runtimes_is_not_measurable_and_never_zero(folder, digits):
    macs = items.behaviour("efficiency.macs")
    evidence = Evidence(taken(folder / "float.xml", digits), digits)
    with pytest.raises(NotMeasurableError, match="needs a model that opens"):
        macs.answer(evidence, evidence, macs.configure({}), torch.Generator())


def test_bytes_and_parameters_are_those_that_are_stored(folder, digits):
    for name, rate in (("efficiency.bytes", 4), ("efficiency.parameters", 1)):
        item, found = items.behaviour(name), {}
        for file in ("float.onnx", "qdq.onnx"):
            evidence = Evidence(taken(folder / file, digits), digits)
            answer = item.answer(evidence, evidence, item.configure({}), torch.Generator())
            found[file] = float(item.summarise(answer, item.configure({}), np.ones((1, len(answer))))[0])
        assert math.isclose(found["float.onnx"] / found["qdq.onnx"], rate, rel_tol=0.3), found


def test_what_is_pickled_is_refused_and_not_read(digits, tmp_path):
    (tmp_path / "m.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    for name in ("m.pkl", "m.joblib", "m.pickle"):
        with pytest.raises(ArtifactError, match=r"would run whatever it says.*skops.io.dump"):
            opening.open_model(str(tmp_path / name), digits)
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as file:
        file.writestr("x", "y")
    with pytest.raises(ArtifactError, match="no file of skops that can be read"):
        opening.open_model(str(tmp_path / "m.skops"), digits)


@pytest.mark.known_answer
def test_texts_are_handed_over_as_ids_with_the_mask_of_what_is_no_padding(tmp_path):
    import onnx.helper as make

    rng = np.random.default_rng(0)
    table = rng.normal(size=(20, 3)).astype(np.float32)
    ints, floats = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    nodes = [
        make.make_node("Gather", ["table", "input_ids"], ["rows"]),
        make.make_node("Cast", ["attention_mask"], ["mask"], to=floats),
        make.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        make.make_node("Mul", ["rows", "wide"], ["kept"]),
        make.make_node("ReduceSum", ["kept", "middle"], ["logits"], keepdims=0),
    ]
    shape = ["N", "T"]
    given = [make.make_tensor_value_info(n, ints, shape) for n in ("input_ids", "attention_mask")]
    held = [
        onnx.numpy_helper.from_array(a, n)
        for n, a in (("table", table), ("last", np.array([2])), ("middle", np.array([1])))
    ]
    graph = make.make_graph(nodes, "bag", given, [make.make_tensor_value_info("logits", floats, ["N", 3])], held)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 21)], ir_version=10), tmp_path / "bag.onnx")
    ids = torch.from_numpy(rng.integers(2, 20, (40, 6)))
    ids[::3, 4:] = 0
    targets = torch.arange(40) % 3
    split = Split(ids, targets, targets)
    texts = Task("texts", 3, None, dict.fromkeys(SPLITS, split), vocabulary=20)
    model = taken(tmp_path / "bag.onnx", texts)
    wanted = (table[ids] * (ids != 0).numpy()[..., None]).sum(1)
    np.testing.assert_allclose(Evidence(model, texts).logits().numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert sum(model.stores.stored_weights()) == 60
    with pytest.raises(
        TaskError, match=r"takes the inputs input_ids tensor\(int64\), attention_mask .*; one of numbers"
    ):
        taken(tmp_path / "bag.onnx", replace(texts, vocabulary=0))


def test_what_this_package_writes_as_onnx_is_opened_again(digits, net, tmp_path):
    steps = recipe.parse("quantize.uniform(bits=4)")
    small = net
    for step in steps:
        small = recipe.apply(step, small, digits, torch.Generator().manual_seed(0))
    formats.write("onnx", small, tmp_path / "m.onnx", digits.calibration.inputs[:8])
    model = taken(tmp_path / "m.onnx", digits)
    x = digits.test.inputs[:20]
    with torch.no_grad():
        torch.testing.assert_close(model.source.scores(x), small(x), rtol=1e-3, atol=1e-3)
    counted = sum(model.stores.stored_weights())
    live = take.take(small, "live", "live", digits, torch.Generator())
    item = items.behaviour("efficiency.parameters")
    evidence = Evidence(live, digits)
    answer = item.answer(evidence, evidence, item.configure({}), torch.Generator())
    assert counted == float(item.summarise(answer, item.configure({}), np.ones((1, len(answer))))[0])


@pytest.mark.known_answer
def test_one_probability_of_a_sigmoid_is_that_of_class_one(digits, net, tmp_path, exporting, serve):
    halves = {n: replace(s, targets=s.targets // 5, observed=s.targets // 5) for n, s in digits.splits.items()}
    two = replace(digits, classes=2, splits=halves)
    last = torch.nn.Linear(10, 1)
    last.weight.data, last.bias.data = torch.linspace(-1, 1, 10)[None], torch.zeros(1)
    one = torch.nn.Sequential(net, last, torch.nn.Sigmoid()).eval()
    exporting(one, digits.test.inputs[:8], tmp_path / "one.onnx")
    openvino.save_model(openvino.convert_model(tmp_path / "one.onnx"), tmp_path / "one.xml", compress_to_fp16=False)
    with torch.no_grad():
        wanted = one(two.test.inputs)[:, 0]
    server = serve(lambda x: x)
    server.raw = lambda x: {"probabilities": one(x).detach().round(decimals=3).tolist()}
    for name, tolerance in ((tmp_path / "one.onnx", 1e-5), (tmp_path / "one.xml", 1e-4), (server.plain, 1e-3)):
        given = opening.open_model(str(name), two)
        model = take.take(given, "one", given.key, two, torch.Generator().manual_seed(0))
        found = Evidence(model, two).logits().softmax(1)[:, 1]
        torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


def test_a_large_model_is_refused_by_what_its_files_hold_together(folder, digits):
    held = sum((folder / f"external.onnx{ending}").stat().st_size for ending in ("", ".data"))
    with limits.within(held):
        opening.open_model(str(folder / "external.onnx"), digits)
    with (
        limits.within(4000),
        pytest.raises(ArtifactError, match=r"would take .* of memory; allowed are .*--max-memory"),
    ):
        opening.open_model(str(folder / "external.onnx"), digits)


def graph(nodes, weights, shape=("N", 2)):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])
    s = onnx.helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, list(shape))
    made = onnx.helper.make_graph([onnx.helper.make_node(*node) for node in nodes], "g", [x], [s], weights)
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)


def test_a_graph_that_hands_on_in_circles_is_read_to_an_end(tmp_path):
    from whatelse.models import onnx_stored

    held = [onnx.numpy_helper.from_array(np.ones((4, 2), "float32"), "w")]
    nodes = [("Identity", ["w"], ["a"]), ("Identity", ["a"], ["b"]), ("Identity", ["b"], ["a"])]
    (tmp_path / "m.onnx").write_bytes(graph([*nodes, ("Identity", ["s"], ["s"])], held).SerializeToString())
    assert onnx_stored.read(tmp_path / "m.onnx").last["s"] == "Identity"


@pytest.mark.parametrize("what", ["operation", "size", "name", "block"])
def test_an_onnx_file_with_damage_inside_is_one_line(tmp_path, what):
    weights = onnx.numpy_helper.from_array(np.ones((4, 2), "float32"), "w")
    whole = graph([("MatMul", ["x", "w"], ["s"])], [weights]).SerializeToString()
    if what == "block":
        node = onnx.helper.make_node("MatMulNBits", ["x", "w"], ["s"], N=4, K=10**9, block_size=32, bits=4)
        made = graph([], [onnx.numpy_helper.from_array(np.ones((4, 2), "uint8"), "w")])
        made.graph.node.append(node)
        whole = made.SerializeToString()
    swaps = {"operation": (b"MatMul", b"MatM\xff\xff"), "size": (b"\x08\x04\x08\x02\x10", b"\x08\x04\x08\x06\x10")}
    swaps["name"] = (b"\x12\x01N", b"\x12\x01\xff")
    path = tmp_path / "m.onnx"
    path.write_bytes(whole.replace(*swaps.get(what, (b"", b""))))
    split = Split(torch.rand(8, 4), torch.arange(8) % 2, torch.arange(8) % 2)
    task = Task("few", 2, (0.0, 1.0), dict.fromkeys(SPLITS, split))
    with pytest.raises(ArtifactError, match="damaged|cannot run it") as error:
        opening.open_model(str(path), task)
    assert "\n" not in str(error.value)
