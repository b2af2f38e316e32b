"""Estimators of scikit-learn in files of skops, each held against its own answers."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pandas
import pytest
import skops.io
import torch
from sklearn import calibration, ensemble, linear_model, naive_bayes, neural_network, pipeline, preprocessing, svm, tree
from sklearn.compose import ColumnTransformer

import whatelse
from whatelse import opening
from whatelse.auditing import questions
from whatelse.errors import ArtifactError, NotMeasurableError, TaskError
from whatelse.evidence.cache import Evidence
from whatelse.models import estimator, take
from whatelse.tasks.task import Split, Task

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

COLUMNS = ("height", "weight", "age", "size", "depth")


@pytest.fixture(scope="module")
def table():
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(300, 5, generator=rng)
    targets = (inputs[:, 0] + inputs[:, 1] * inputs[:, 2] > 0).long() + (inputs[:, 3] > 1).long()
    whole = Split(inputs, targets, targets)
    return Task("table", 3, None, {n: whole for n in ("train", "calibration", "select", "test")}, features=COLUMNS)


def fitted(kind, task, targets=None):
    return kind.fit(task.train.inputs.numpy(), task.train.targets.numpy() if targets is None else targets)


def opened(kind, task, folder):
    path = folder / "m.skops"
    skops.io.dump(kind, path)
    given = opening.open_model(str(path), task)
    return take.take(given, "mine", given.key, task, torch.Generator().manual_seed(0))


def some_pipe():
    scaled = pipeline.make_pipeline(preprocessing.PolynomialFeatures(2), preprocessing.StandardScaler())
    return pipeline.make_pipeline(scaled, linear_model.LogisticRegression())


WITH_PROBABILITIES = {
    "tree": tree.DecisionTreeClassifier(max_depth=4),
    "forest": ensemble.RandomForestClassifier(5, max_depth=4, n_jobs=2),
    "extra trees": ensemble.ExtraTreesClassifier(5, max_depth=3),
    "boosted": ensemble.GradientBoostingClassifier(n_estimators=3),
    "histogram": ensemble.HistGradientBoostingClassifier(max_iter=3),
    "ada": ensemble.AdaBoostClassifier(n_estimators=3),
    "bagged": ensemble.BaggingClassifier(n_estimators=3, max_features=3),
    "logistic": linear_model.LogisticRegression(),
    "network": neural_network.MLPClassifier((8,), max_iter=400, tol=1e-2),
    "pipeline": some_pipe(),
    "calibrated": calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2),
    "of a pipeline": calibration.CalibratedClassifierCV(
        pipeline.make_pipeline(preprocessing.PolynomialFeatures(2), tree.DecisionTreeClassifier(max_depth=3)), cv=2
    ),
    "voting": ensemble.VotingClassifier([("a", tree.DecisionTreeClassifier(max_depth=2))], voting="soft"),
    "bayes": naive_bayes.GaussianNB(),
}


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", WITH_PROBABILITIES)
def test_scores_are_the_logarithms_of_its_probabilities(table, tmp_path, kind):
    made = fitted(WITH_PROBABILITIES[kind], table)
    model = opened(made, table, tmp_path)
    assert model.offers == {"predicts"}
    assert not model.alone
    theirs = made.predict_proba(table.test.inputs.numpy())
    found = Evidence(model, table).logits()
    np.testing.assert_allclose(found.exp().numpy(), theirs, atol=1e-6)
    assert (found.argmax(1).numpy() == theirs.astype(np.float32).argmax(1)).all()


@pytest.mark.known_answer
def test_without_probabilities_the_decision_function_is_taken_and_else_the_class(table, tmp_path):
    x = table.test.inputs.numpy()
    made = fitted(svm.LinearSVC(), table)
    model = opened(made, table, tmp_path)
    np.testing.assert_allclose(Evidence(model, table).logits().numpy(), made.decision_function(x), rtol=1e-5)
    assert "its decision function is taken" in model.source.told[-1]
    halves = {n: replace(s, targets=s.targets.clamp(max=1), observed=s.observed) for n, s in table.splits.items()}
    two = replace(table, classes=2, splits={n: replace(s, observed=s.targets) for n, s in halves.items()})
    made = fitted(linear_model.RidgeClassifier(), two)
    found = Evidence(opened(made, two, tmp_path), two).logits()
    np.testing.assert_allclose((found[:, 1] - found[:, 0]).numpy(), made.decision_function(x), rtol=1e-5, atol=1e-6)
    made = fitted(ensemble.VotingClassifier([("a", tree.DecisionTreeClassifier(max_depth=2))]), table)
    model = opened(made, table, tmp_path)
    assert (Evidence(model, table).predictions().numpy() == made.predict(x)).all()
    assert "names a class and gives no scores" in model.source.told[-1]


@pytest.mark.known_answer
def test_bytes_and_weights_are_those_that_are_stored(table, tmp_path):
    def counted(made):
        stores = opened(fitted(made, table), table, tmp_path).stores
        with zipfile.ZipFile(tmp_path / "m.skops") as file:
            held = [np.load(io.BytesIO(file.read(n))) for n in file.namelist() if n.endswith(".npy")]
        assert sum(stores.stored_bytes()) == sum(a.nbytes for a in held)
        return sum(stores.stored_weights())

    made = tree.DecisionTreeClassifier(max_depth=3)
    whole = counted(made)
    rules = tree.export_text(made, max_depth=10).splitlines()
    inner = sum("<=" in rule for rule in rules)
    leaf = made.tree_.children_left < 0
    assert whole == inner + np.count_nonzero(made.tree_.value[leaf])
    assert counted(linear_model.LogisticRegression()) == 3 * 5 + 3
    assert counted(neural_network.MLPClassifier((8,), max_iter=400, tol=1e-2)) == 5 * 8 + 8 + 8 * 3 + 3
    made = ensemble.HistGradientBoostingClassifier(max_iter=2, max_leaf_nodes=4)
    assert counted(made) <= 2 * 3 * (3 + 4)
    with pytest.raises(NotMeasurableError, match="mine|holds a GaussianNB"):
        counted(naive_bayes.GaussianNB())


def test_classes_go_by_what_they_are(table, tmp_path):
    words = np.array(["cat", "dog", "eel"])[table.train.targets.numpy()]
    made = fitted(tree.DecisionTreeClassifier(max_depth=3), table, words)
    model = opened(made, table, tmp_path)
    assert any("taken in their order: cat as 0, dog as 1, eel as 2" in told for told in model.source.told)
    lacking = table.train.targets.clamp(min=1).numpy()
    model = opened(fitted(tree.DecisionTreeClassifier(max_depth=3), table, lacking), table, tmp_path)
    assert any("fitted without class 0" in told for told in model.source.told)
    assert bool((Evidence(model, table).logits().exp()[:, 0] < 1e-30).all())
    with pytest.raises(TaskError, match="knows the classes cat, dog; the task has 3, 0 to 2"):
        opened(
            fitted(tree.DecisionTreeClassifier(), table, np.array(["cat", "dog"])[(lacking > 1) * 1]), table, tmp_path
        )


def test_columns_go_by_their_names(table, tmp_path):
    frame = pandas.DataFrame(table.train.inputs.numpy(), columns=list(COLUMNS))
    scaled = ColumnTransformer([("a", preprocessing.StandardScaler(), ["size", "height"])], remainder="drop")
    made = pipeline.make_pipeline(scaled, linear_model.LogisticRegression())
    made.fit(frame[["depth", "size", "height"]], table.train.targets.numpy())
    model = opened(made, table, tmp_path)
    found = Evidence(model, table).logits().exp().numpy()
    np.testing.assert_allclose(found, made.predict_proba(frame[["depth", "size", "height"]]), atol=1e-6)
    assert any("handed the 3 columns that it was fitted on, by their names" in told for told in model.source.told)
    made.fit(frame.rename(columns={"depth": "income"})[["income", "size", "height"]], table.train.targets.numpy())
    with pytest.raises(TaskError, match="fitted on 1 columns that the data lack, such as 'income'"):
        opened(made, table, tmp_path)
    few = linear_model.LogisticRegression().fit(table.train.inputs[:, :3].numpy(), table.train.targets.numpy())
    with pytest.raises(TaskError, match="was fitted on 3 columns, the data have 5"):
        opened(few, table, tmp_path)


def test_types_that_are_not_trusted_are_named_and_trusted_only_by_name(table, tmp_path, monkeypatch):
    monkeypatch.delenv(estimator.VARIABLE, raising=False)
    step = preprocessing.FunctionTransformer(np.linalg.norm, kw_args={"axis": 1, "keepdims": True})
    made = fitted(pipeline.make_pipeline(step, tree.DecisionTreeClassifier(max_depth=2)), table)
    with pytest.raises(ArtifactError, match=r"types that are not trusted: (\S+); .*WHATELSE_SKOPS_TRUSTED=\1"):
        opened(made, table, tmp_path)
    with pytest.raises(ArtifactError) as caught:
        opened(made, table, tmp_path)
    monkeypatch.setenv(estimator.VARIABLE, str(caught.value).rpartition("=")[2])
    np.testing.assert_allclose(
        Evidence(opened(made, table, tmp_path), table).logits().exp(), made.predict_proba(table.test.inputs), atol=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        *(("tree", field) for field in ("left_child", "right_child", "feature")),
        *(("boosted", field) for field in ("left_child", "feature")),
        *(("histogram", field) for field in ("left", "right", "feature_idx")),
    ],
)
def test_a_tree_whose_nodes_point_to_nothing_is_refused(table, tmp_path, kind, field):
    path = tmp_path / "m.skops"
    skops.io.dump(fitted(WITH_PROBABILITIES[kind], table), path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    for value in (10**6, -1 if field == "feature" else 0):
        if field == "feature_idx" and not value:
            continue  # there is a column 0
        with zipfile.ZipFile(path, "w") as file:
            for name, held in parts.items():
                nodes = np.load(io.BytesIO(held)) if name.endswith(".npy") else np.zeros(0)
                if nodes.dtype.names and field in nodes.dtype.names:
                    nodes = nodes.copy()
                    nodes[field][0] = value
                    out = io.BytesIO()
                    np.save(out, nodes)
                    file.writestr(name, out.getvalue())
                else:
                    file.writestr(name, held)
        with pytest.raises(ArtifactError, match="nodes that point to what is not there"):
            opening.open_model(str(path), table)


def test_what_is_no_classifier_or_cut_off_is_one_line(table, tmp_path):
    with pytest.raises(ArtifactError, match="holds a LinearRegression; a classifier that was fitted is needed"):
        opened(fitted(linear_model.LinearRegression(), table), table, tmp_path)
    with pytest.raises(ArtifactError, match="holds a LogisticRegression; a classifier that was fitted"):
        opened(linear_model.LogisticRegression(), table, tmp_path)
    skops.io.dump(fitted(linear_model.LogisticRegression(), table), tmp_path / "m.skops")
    whole = (tmp_path / "m.skops").read_bytes()
    for cut in (0, 100, len(whole) // 2, len(whole) - 5):
        (tmp_path / "m.skops").write_bytes(whole[:cut])
        with pytest.raises(ArtifactError, match="m.skops") as caught:
            opening.open_model(str(tmp_path / "m.skops"), table)
        assert "\n" not in str(caught.value)


@pytest.fixture
def people(tmp_path):
    """A file in which numbers have units and classes have names, and a forest fitted on some of its columns."""
    rng = np.random.default_rng(0)
    table = pandas.DataFrame({"age": rng.integers(18, 90, 400), "pay": rng.normal(40_000, 9_000, 400).round(2)})
    table["earns"] = np.where(table["pay"] + 200 * table["age"] > 50_000, "much", "little")
    table["sex"] = rng.choice(["f", "m"], 400)
    table.to_csv(tmp_path / "people.csv", index=False)
    forest = ensemble.RandomForestClassifier(10, random_state=0).fit(table[["pay", "age"]], table["earns"])
    skops.io.dump(forest, tmp_path / "forest.skops")
    return tmp_path, table, forest


@pytest.mark.known_answer
@pytest.mark.parametrize("given", [{}, {"split": "test"}, {"scale": "none"}, {"classes": "much,little"}])
def test_an_estimator_gets_what_the_file_holds_however_the_data_are_scaled(people, given):
    place, table, forest = people
    text = f"table(path={str(place / 'people.csv')!r}, label='earns', groups='sex'"
    task = opening.load_task(text + "".join(f", {name}={value!r}" for name, value in given.items()) + ")")
    found = opening.open_model(str(place / "forest.skops"), task).scores(task.test.inputs).exp()
    age, pay = (task.test.inputs[:, task.features.index(name)].double() for name in ("age", "pay"))
    for column, name in ((age, "age"), (pay, "pay")):
        if task.units:
            offset, scale = task.units[task.features.index(name)]
            column.mul_(scale).add_(offset)
    rows = pandas.DataFrame({"pay": pay.numpy().round(2), "age": age.numpy().round()})
    assert set(map(tuple, rows.to_numpy())) <= set(map(tuple, table[["pay", "age"]].to_numpy())), "as the file has them"
    wanted = pandas.DataFrame(forest.predict_proba(rows), columns=forest.classes_)[list(task.class_names)]
    assert found.numpy() == pytest.approx(wanted.to_numpy(), abs=1e-6)


def test_an_estimator_of_other_classes_is_refused_with_both_lists(people):
    place, _, _ = people
    text = f"table(path={str(place / 'people.csv')!r}, label='sex', leave_out='earns')"
    with pytest.raises(TaskError, match="forest.skops knows the classes little, much; the task has f, m"):
        opening.open_model(str(place / "forest.skops"), opening.load_task(text))


def test_results_of_equal_numbers_in_other_units_are_not_found_again(tmp_path):
    """Standardized both files are the same; what the estimator is handed is not."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 2))
    y = np.where(x[:, 0] + 0.3 * x[:, 1] > 0, "yes", "no")
    for name, strength in (("base", 1.0), ("small", 0.001)):
        model = linear_model.LogisticRegression(C=strength).fit(x, y)
        skops.io.dump(model, tmp_path / f"{name}.skops")
    asked = questions.read_questions(
        'name = "q"\ntitle = "Q"\ndraws = 100\nrows = [{ name = "r", title = "R" }]\n[[measurements]]\nrow = "r"\n'
        'item = "generalization.accuracy"\nlabel = "accuracy"\nmargin = 0.02\nprimary = true\n'
    )
    keys, found = set(), []
    for scale in (1, 1024):
        lines = [f"{a * scale!r},{b!r},{c}" for (a, b), c in zip(x.tolist(), y, strict=True)]
        (tmp_path / "data.csv").write_text("\n".join(["a,b,y", *lines]))
        data = f"table(path={str(tmp_path / 'data.csv')!r}, label='y')"
        keys.add(opening.load_task(data).key)
        for results in (tmp_path / "kept", None):
            base, small = (str(tmp_path / f"{name}.skops") for name in ("base", "small"))
            made = whatelse.audit(base, {"small": small}, data, asked, results=results, on="inline", force=True)
            found += [(f.before, f.after) for f in made.findings if f.leading]
    assert len(keys) == 1
    assert found[0] == found[1] != found[2] == found[3]


def test_what_is_no_estimator_is_refused_by_its_kind(table, tmp_path):
    skops.io.dump({"a": 1}, tmp_path / "m.skops")
    with pytest.raises(ArtifactError, match="it holds a dict; a classifier that was fitted is needed"):
        opening.open_model(str(tmp_path / "m.skops"), table)
