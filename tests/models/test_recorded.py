import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from whatelse import items, registry
from whatelse.errors import NotMeasurableError, TaskError
from whatelse.evidence.cache import Evidence
from whatelse.models import recorded, take
from whatelse.nets import cnn
from whatelse.tasks.task import SPLITS, Split, Task
from whatelse.testing import samples

# All that a table of scores answers, of train, select and test, with shadow models beside it.
ANSWERED = {
    *(f"fairness.{n}" for n in ("cev", "diagnostics", "equalized_odds", "flip_share", "gap", "group")),
    *(f"fairness.{n}" for n in ("group_calibration", "odds", "parity", "sde", "worst_group")),
    *(f"generalization.{n}" for n in ("accuracy", "brier", "calibration", "classwise", "distance", "ece", "flips")),
    *(f"generalization.{n}" for n in ("gap", "likelihood", "macro_accuracy", "memorization", "risk_coverage")),
    *(f"generalization.{n}" for n in ("entity_f1", "smooth_ece")),
    *(f"membership.{n}" for n in ("calibration", "lira", "loss", "pair", "reference")),
    *(f"transparency.{n}" for n in ("size", "stability", "tree")),
}
REFUSED = (
    r"^needs a model that (predicts new inputs|differentiates|opens); small.npz only has recorded scores of test"
    r"|^needs (documents|documents or questions|choices|pairs); task toy is of images$"
    r"|^needs a grouping 'harmful' that says which are harmful"
)


def taken(arrays, task, name="small.npz"):
    return take.take(recorded.of_arrays(arrays, task, name), name, "k", task, torch.Generator())


@pytest.fixture(scope="module")
def trained():
    rng = torch.Generator().manual_seed(1)
    inputs = torch.rand(90, 1, 8, 8, generator=rng)
    models = [cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng) for _ in range(2)]
    for model in models:
        torch.nn.init.normal_(model.head.weight, std=3.0, generator=rng)
    right = models[0](inputs).argmax(1)
    targets = torch.where(torch.arange(90) % 4 == 0, torch.arange(90) % 3, right)
    return inputs, targets, models


def live(toy, trained):
    inputs, targets, models = trained
    rows, rng = torch.arange(90), torch.Generator().manual_seed(3)
    observed = torch.where(rows % 7 == 0, (targets + 1) % 3, targets)
    masks = torch.zeros(inputs.shape, dtype=torch.bool)
    masks[:, :, :3] = True
    style = {"style": rows % 2}
    task = toy.task_of(inputs, targets, classes=3, bounds=(0, 1), observed=observed, groups=style, masks=masks)
    inside = torch.rand(4, 180, generator=rng) < 0.5
    inside[1], inside[3] = ~inside[0], ~inside[2]
    logits, moves = torch.randn(4, 180, 3, generator=rng), torch.rand(4, 180, 3, generator=rng)
    base = toy.evidence_of(models[0], task, name="baseline", shadows=lambda: toy.References(logits, inside, moves))
    return base, toy.evidence_of(
        models[1], task, reference=base, shadows=lambda: toy.References(logits + 0.1, inside, moves)
    )


def written(evidence, reference=None, name="small.npz"):
    arrays = {f"{split}_logits": evidence.logits(split) for split in ("test", "train", "select")}
    return Evidence(taken(arrays, evidence.task, name), evidence.task, reference=reference, shadows=evidence.shadows)


def texts():
    rng = torch.Generator().manual_seed(2)
    ids, targets = torch.randint(1, 6, (40, 8), generator=rng).float(), torch.arange(40) % 2
    words = ("", "(unknown)", "film", "trail", "trial", "plot")
    task = Task("texts", 2, None, dict.fromkeys(SPLITS, Split(ids, targets, targets)), vocabulary=6, words=words)
    logits = torch.randn(40, 2, generator=rng)
    seen = Evidence(taken({"test_logits": logits}, task), task)
    return seen, Evidence(taken({"test_logits": logits + 1}, task), task, reference=seen)


@pytest.mark.known_answer
@pytest.mark.parametrize("name", registry.names("behaviours"))
def test_a_behaviour_answers_of_recorded_scores_as_of_the_model_that_wrote_them_or_says_what_is_lacking(
    name, toy, trained
):
    item = items.behaviour(name)
    pair = samples.pair(item.needs) if "sentences" in item.needs else live(toy, trained)
    if "texts" in item.needs:
        base, mine = texts()
    else:
        base = written(pair[0])
        mine = written(pair[1], base)

    def asked(before, after):
        return item.answer(before, after, item.configure({}), torch.Generator().manual_seed(7))

    if name not in ANSWERED:
        with pytest.raises(NotMeasurableError, match=REFUSED):
            asked(base, mine)
        return
    found = asked(base, mine)
    wanted = asked(*pair)
    assert list(found.columns) == list(wanted.columns)
    for column, values in wanted.columns.items():
        assert torch.equal(found.columns[column], values), column
    assert mine.passes.forward == mine.passes.backward == 0, "nothing is passed through a model"


def test_so_many_behaviours_need_no_more_than_scores():
    every = set(registry.names("behaviours"))
    assert every >= ANSWERED
    assert (len(ANSWERED), len(every - ANSWERED) >= 34) == (33, True)


@pytest.fixture
def three(toy):
    rng = torch.Generator().manual_seed(0)
    return toy.task_of(torch.rand(4, 2, generator=rng), torch.tensor([0, 1, 2, 1]), classes=3)


P = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.0, 0.0, 1.0]])


def table(path, array, header="zero,one,two", more=()):
    beside = more or [[]] * len(array)
    rows = [",".join([*(repr(float(v)) for v in row), *extra]) for row, extra in zip(array, beside, strict=True)]
    path.write_text("\n".join([header, *rows, ""]))


WRITERS = {
    "s.npz": lambda path, array: np.savez(path, test_logits=array.numpy()),
    "s.npy": lambda path, array: np.save(path, array.numpy()),
    "s.safetensors": lambda path, array: save_file({"logits": array}, path),
    "s.csv": table,
}


@pytest.mark.known_answer
@pytest.mark.parametrize("name", WRITERS)
def test_every_form_of_file_gives_back_the_very_numbers(name, tmp_path, three, rng):
    assert set(recorded.SUFFIXES) == {f".{n.split('.')[1]}" for n in WRITERS}
    logits = 3 * torch.randn(4, 3, generator=rng)
    WRITERS[name](tmp_path / name, logits)
    found = recorded.of_file(tmp_path / name, three)
    assert torch.equal(found.recorded("test"), logits)
    assert (found.splits, found.remarks) == (("test",), ())
    assert found.key == recorded.of_arrays({"logits": logits}, three, "m").key
    assert found.key != recorded.of_arrays({"logits": logits + 1}, three, "m").key


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("what", "array", "remark"),
    [
        ("probabilities", P, "s has probabilities of test: their logarithms were taken as class scores"),
        ("scores", P, "answers with probabilities: their logarithms were taken as class scores"),
        ("scores", P.double(), "answers with probabilities: their logarithms were taken as class scores"),
        ("log_probabilities", P.log(), "s has log-probabilities of test: taken as class scores"),
        ("logits", P.clamp(min=1e-30).log() + 3, ""),
        ("scores", P.clamp(min=1e-30).log() + 3, ""),
    ],
)
def test_scores_keep_the_probabilities_and_it_is_told_how_they_were_read(what, array, remark, three):
    found = recorded.of_arrays({f"test_{what}": array}, three, "s")
    scores = found.recorded("test")
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
    assert torch.allclose(scores.softmax(1), P, atol=1e-6)
    assert [remark in line for line in found.remarks] == [True] * bool(remark)


@pytest.mark.known_answer
def test_of_two_classes_a_column_of_the_second_is_enough(toy):
    two = toy.task_of(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    column = torch.tensor([0.25, 0.5, 1.0])
    for array in (column, column[:, None]):
        found = recorded.of_arrays({"test_probabilities": array}, two, "s").recorded("test")
        assert torch.allclose(found.softmax(1)[:, 1], column)
    found = recorded.of_arrays({"test_logits": torch.tensor([0.0, -1.0, 2.0])}, two, "s")
    assert torch.allclose(found.recorded("test").softmax(1)[:, 1], torch.tensor([0.0, -1.0, 2.0]).sigmoid())
    assert "taken as the log-odds of class 1" in found.remarks[0]


def broken(row, value):
    array = P.clone()
    array[row, 0] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "s: it has nothing and no scores of test; an array test_scores, test_logits or test_probabilities"),
        ({"train_logits": P}, "s: it has train_logits and no scores of test"),
        ({"logits": P[:3]}, "s: scores of 3 examples of test; task toy has 4, and one row for each is needed"),
        ({"logits": P[:, :2]}, r"scores of test are of shape \(4, 2\); \(N, 3\) is needed, a column for each class"),
        ({"logits": broken(2, float("nan"))}, "s: scores of row 2 of test hold NaN or infinity"),
        ({"logits": broken(1, float("-inf"))}, "s: scores of row 1 of test hold NaN or infinity"),
        ({"log_probabilities": broken(1, float("inf"))}, "s: scores of row 1 of test hold NaN or infinity"),
        ({"log_probabilities": P.clamp(min=1e-9).log() + 1}, "s: log_probabilities of row 0 of test are none"),
        ({"probabilities": broken(3, 0.5)}, r"s: probabilities of row 3 of test are none: \[0.5, 0.0, 1.0\]"),
        ({"probabilities": -P}, "s: probabilities of row 0 of test are none"),
        ({"scores": P / 2}, "s: all scores of test lie between 0 and 1 .* call them test_logits or test_probabilities"),
        ({"logits": P, "test_scores": P}, "s: it has several arrays of scores of test; one is needed"),
        ({"logits": np.array([["a"] * 3] * 4)}, "s: logits holds <U1; numbers are needed"),
        (
            {"logits": P, "test_targets": np.array([0, 1, 1, 1])},
            "s: the target of row 2 of test is 1, that of task toy is 2; the scores are of other examples, or of these",
        ),
        ({"logits": P, "targets": np.array([0, 1])}, "s: 2 targets of test; task toy has 4 examples there"),
        ({"logits": P, "test_inputs_key": np.array("beef")}, "s: test_inputs_key is beef, that of task toy is "),
    ],
)
def test_scores_of_something_else_are_refused_with_what_is_needed(arrays, words, three):
    with pytest.raises(TaskError, match=words) as caught:
        recorded.of_arrays(arrays, three, "s")
    assert "\n" not in str(caught.value)


def test_what_stands_beside_the_scores_proves_whose_they_are(three, tmp_path):
    key = recorded.inputs_key(three.test)
    arrays = {"logits": P.numpy(), "test_targets": three.test.targets.numpy(), "inputs_key": np.array(key)}
    np.savez(tmp_path / "s.npz", **arrays)
    assert recorded.of_file(tmp_path / "s.npz", three).splits == ("test",)
    save_file({"logits": P}, tmp_path / "s.safetensors", metadata={"test_inputs_key": "beef"})
    with pytest.raises(TaskError, match="test_inputs_key is beef"):
        recorded.of_file(tmp_path / "s.safetensors", three)
    table(tmp_path / "s.csv", P, "a,b,c,target", [["0"], ["1"], ["2"], ["0"]])
    with pytest.raises(TaskError, match="the target of row 3 of test is 0, that of task toy is 1"):
        recorded.of_file(tmp_path / "s.csv", three)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("s.npz", b"no archive", "s.npz: "),
        ("s.npy", b"", "s.npy: "),
        ("s.safetensors", b"\0" * 20, "s.safetensors: "),
        ("s.csv", b"a,b,c\n1,2,x\n", "s.csv: could not convert string to float"),
        ("s.csv", b"a,b,c\n1,2\n", "s.csv: row 0 has 2 fields below 3 names"),
        ("s.csv", b"class_1,class_0,class_2\n1,2,3\n", "its columns are class_1, class_0, class_2; the order"),
        ("s.csv", b"a,b,c,label\n1,2,3,0\n", "no scores in a column named 'label'"),
    ],
)
def test_files_that_hold_no_scores_are_one_line(name, content, words, tmp_path, three):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=words) as caught:
        recorded.of_file(tmp_path / name, three)
    assert "\n" not in str(caught.value)
    with pytest.raises(TaskError, match=r"gone.npz: no such file"):
        recorded.of_file(tmp_path / "gone.npz", three)
    np.save(tmp_path / "o.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(TaskError, match="allow_pickle=False"):
        recorded.of_file(tmp_path / "o.npy", three)


def test_splits_that_were_not_recorded_are_named_where_they_are_needed(three):
    seen = Evidence(taken({"logits": P}, three), three)
    with pytest.raises(NotMeasurableError, match=r"needs scores of train; small.npz only has recorded scores of test$"):
        seen.logits("train")
    with pytest.raises(NotMeasurableError, match=r"needs a model that predicts new inputs; small.npz only has"):
        seen.answers(three.test.inputs)
    with pytest.raises(NotMeasurableError, match="needs a model that opens"):
        _ = seen.model
    assert seen.subject.offers == {"recorded"}


@pytest.mark.known_answer
def test_of_some_examples_there_are_their_scores(three):
    model = taken({"logits": P, "select_logits": P + 1}, three)
    rows = torch.tensor([2, 0])
    part = model.picked(rows, "test")
    assert torch.equal(part.source.recorded("test"), P[rows])
    assert torch.equal(part.source.recorded("select"), P + 1)
    assert torch.equal(model.picked(rows, "select").source.recorded("test"), P[rows] + 1)
