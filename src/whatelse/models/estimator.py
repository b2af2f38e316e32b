"""An estimator of scikit-learn, from a file of skops: it only predicts.

A file names types; skops makes none that is not trusted. Those of `TRUSTED` are scikit-learn's own, which skops leaves
to its user: they hold numbers, and run nothing of the file's. Trees among them are read by C without a look at where
their children and features point, so that is looked at here first.
"""

from __future__ import annotations

import os
import sys
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import ArtifactError, NotMeasurableError, TaskError, in_short
from whatelse.models import foreign
from whatelse.models.readings import READINGS, column
from whatelse.tasks.task import Task

VARIABLE = "WHATELSE_SKOPS_TRUSTED"
TRUSTED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.utils._bunch.Bunch",
    "numpy.dtype",
)
_WEIGHTS = ("coef_", "intercept_", "coefs_", "intercepts_")
_MADE_OF = ("estimators_", "estimator_", "calibrated_classifiers_", "steps", "final_estimator_", "best_estimator_")
_BATCH = 4096  # a forest answers for each of its trees at once
_NUMBERS = ".npy"


class EstimatorScores:
    """An estimator, asked for the logarithms of its probabilities, else for its decision function, else for classes.

    Attributes:
        key: SHA-256 of the file, and of those of types that its user trusts.
        told: What a reader must know of it.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self._name, self._path = path.name, path
        self._estimator, code = load(path)
        self.key = foreign.key_of("skops", [path, *code])
        self._classes, self._features = task.classes, task.features
        self._places, ordered = _places(self._estimator, task, self._name)
        self._columns, named = _columns(self._estimator, task, self._name)
        self._units = np.array(task.units).T if task.units else None
        ways = ("predict_proba", "decision_function", "predict")
        self._way = next(way for way in ways if getattr(self._estimator, way, None) is not None)
        told = f"{self._name} is a {type(self._estimator).__name__} of scikit-learn, and only predicts"
        self.told = (told, *ordered, *named, *_SAID.get(self._way, ()))

    def scores(self, inputs: Tensor) -> Tensor:
        """Return class scores of inputs, ``(N, classes)``.

        Args:
            inputs: ``(N, ...)``, flattened to rows.

        Raises:
            TaskError: The estimator cannot take them.
        """
        return foreign.in_batches(self._asked, inputs.detach(), _BATCH, self._name, fixed=False)

    def stored_bytes(self) -> Sequence[int]:
        """Return the bytes of every array in the file."""
        return list(_arrays(self._path))

    def stored_weights(self) -> Sequence[int]:
        """Return how many weights are not zero: coefficients, or of trees the thresholds and what their leaves say.

        Raises:
            NotMeasurableError: It is not known what its weights are.
        """
        found: list[int] = []
        for part in _parts(self._estimator):
            found += _weights(part, self._name)
        if not found:
            raise NotMeasurableError(f"needs weights that can be found; {self._name} shows none")
        return found

    def _asked(self, x: Tensor) -> Tensor:
        rows = x.flatten(1).numpy()
        if self._units is not None:  # it was fitted on what the file holds
            rows = rows * self._units[1] + self._units[0]
        given = _table(rows, self._columns, self._features) if self._columns else rows
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                answer = np.asarray(getattr(self._estimator, self._way)(given))
        except Exception as error:  # estimators raise errors of many kinds
            raise TaskError(f"{self._name} cannot answer inputs of shape {rows.shape}: {in_short(error)}") from error
        if self._way == "predict":
            named = {value: code for code, value in zip(self._places, self._estimator.classes_.tolist(), strict=True)}
            codes = torch.tensor([named[value] for value in answer.tolist()])
            return foreign.one_each(codes, self._classes, self._name)
        found = torch.from_numpy(answer)
        if self._way == "decision_function":
            return READINGS["one score"](found).float() if column(found, len(rows)) else found.float()
        whole = torch.zeros(len(rows), self._classes, dtype=found.dtype)
        whole[:, self._places] = found
        return READINGS["probabilities"](whole).float()


_SAID = {
    "decision_function": ("it has no probabilities: its decision function is taken as class scores",),
    "predict": ("it names a class and gives no scores: its confidences mean nothing",),
}


def load(path: Path) -> tuple[Any, list[Path]]:
    """Return the estimator in a file, its trees looked through, and the files of what its user trusts.

    Args:
        path: Of skops.

    Raises:
        ArtifactError: It is damaged, holds types that are not trusted, or no classifier that was fitted.
    """
    import skops.io  # noqa: PLC0415 - an extra
    from sklearn.base import BaseEstimator, is_classifier  # noqa: PLC0415 - likewise

    trusted = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    try:
        with zipfile.ZipFile(path) as file:
            foreign.check(path, sum(part.file_size for part in file.infolist()))
        unknown = set(skops.io.get_untrusted_types(file=path))
    except ArtifactError:
        raise
    except Exception as error:  # damaged files raise errors of many kinds
        raise ArtifactError(f"{path}: no file of skops that can be read; it is damaged, or of another kind") from error
    if strange := sorted(unknown - {*TRUSTED, *trusted}):
        raise ArtifactError(
            f"{path}: it holds types that are not trusted: {', '.join(strange)}; where you trust what they do, name "
            f"them: {VARIABLE}={','.join(strange)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = skops.io.load(path, trusted=sorted(unknown))
    except Exception as error:  # likewise
        raise ArtifactError(f"{path}: cannot be read: {in_short(error)}") from error
    try:
        whole = all(_trees_fit(_held(part)) for part in _parts(found))
    except Exception:  # noqa: BLE001 - what stands in the place of a tree may be anything
        whole = False
    if not whole:
        raise ArtifactError(f"{path}: a tree in it has nodes that point to what is not there; it is damaged")
    if not isinstance(found, BaseEstimator) or not is_classifier(found) or getattr(found, "classes_", None) is None:
        raise ArtifactError(f"{path}: it holds a {type(found).__name__}; a classifier that was fitted is needed")
    alone = {name: 1 for name in found.get_params() if name.split("__")[-1] == "n_jobs"}
    return found.set_params(**alone), _code(unknown - set(TRUSTED))


def _code(names: set[str]) -> list[Path]:
    """Return the files of types that are the user's own: what they do is not told by what the estimator holds."""
    modules = {sys.modules.get(name.rpartition(".")[0]) for name in names}
    files = {getattr(module, "__file__", None) for module in modules}
    return [Path(file) for file in sorted(file for file in files if file)]


def _arrays(path: Path) -> Iterator[int]:
    with zipfile.ZipFile(path) as file:
        for part in file.infolist():
            if not part.filename.endswith(_NUMBERS):
                continue
            with file.open(part) as held:
                version = np.lib.format.read_magic(held)
                reads = (
                    np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                )
                shape, _, kind = reads(held)
            yield int(np.prod(shape, dtype=np.int64)) * kind.itemsize


def _parts(whole: Any) -> Iterator[Any]:  # noqa: ANN401 - of any kind
    """Yield every object that an estimator is made of."""
    ahead, seen = [whole], set[int]()
    while ahead:
        part = ahead.pop()
        if id(part) in seen or isinstance(part, (str, bytes, int, float, type(None))):
            continue
        seen.add(id(part))
        if isinstance(part, np.ndarray):
            ahead += part.ravel().tolist() if part.dtype == object else []
        elif isinstance(part, dict):
            ahead += part.values()
        elif isinstance(part, (list, tuple, set)):
            ahead += part
        else:
            yield part
            ahead += _held(part).values()


def _held(part: Any) -> dict[str, Any]:  # noqa: ANN401 - of any kind
    """Return what a part was given, and nothing that it works out: that would follow the nodes of a damaged tree."""
    held = getattr(part, "__dict__", {})
    return held if isinstance(held, dict) else {}


def _trees_fit(held: dict[str, Any]) -> bool:
    """Return whether the nodes of trees point to what is there: C follows them without a look."""
    width, fits = held.get("n_features_in_", 0), True
    if "tree_" in held:
        fits = _nodes_fit(held["tree_"], width)
    stages = held.get("estimators_")
    if isinstance(stages, np.ndarray) and stages.ndim == 2:  # noqa: PLR2004 - gradient boosting: stages by classes
        fits = stages.shape[1] == held.get("n_trees_per_iteration_", 0)
        fits = fits and all(_held(tree).get("n_features_in_", 0) == width for tree in stages.ravel())
    every = [one for several in held.get("_predictors", ()) for one in several]
    return fits and all(_predictor_fits(one, width) for one in every)


def _nodes_fit(tree: Any, width: int) -> bool:  # noqa: ANN401 - of scikit-learn
    left, right, node = tree.children_left, tree.children_right, np.arange(tree.node_count)
    inner = left != -1
    later = (left > node) & (right > node) & (left < len(node)) & (right < len(node))
    asked = (tree.feature >= 0) & (tree.feature < width)
    return len(node) > 0 and bool((later & asked)[inner].all())


def _predictor_fits(predictor: Any, width: int) -> bool:  # noqa: ANN401 - of scikit-learn
    nodes, node = predictor.nodes, np.arange(len(predictor.nodes))
    inner = nodes["is_leaf"] == 0
    later = (
        (nodes["left"] > node) & (nodes["right"] > node) & (nodes["left"] < len(node)) & (nodes["right"] < len(node))
    )
    asked = (nodes["feature_idx"] >= 0) & (nodes["feature_idx"] < width)
    by_set = inner & (nodes["is_categorical"] != 0)
    sets = (nodes["bitset_idx"] < len(predictor.raw_left_cat_bitsets))[by_set]
    return len(node) > 0 and bool((later & asked)[inner].all() and sets.all())


def _weights(part: Any, name: str) -> list[int]:  # noqa: ANN401 - of any kind
    """Return weights that are not zero, of every array of weights of a part.

    Raises:
        NotMeasurableError: It is not known what its weights are.
    """
    from sklearn.base import is_classifier, is_regressor  # noqa: PLC0415 - an extra

    held = _held(part)
    if "tree_" in held:
        tree = held["tree_"]
        leaf = tree.children_left == -1
        return [int(np.count_nonzero(tree.threshold[~leaf])), int(np.count_nonzero(tree.value[leaf]))]
    if "_predictors" in held:
        every = [one.nodes for several in held["_predictors"] for one in several]
        inner = sum(int(np.count_nonzero(n["num_threshold"][n["is_leaf"] == 0])) for n in every)
        return [inner, sum(int(np.count_nonzero(n["value"][n["is_leaf"] == 1])) for n in every)]
    own = [held[w] for w in _WEIGHTS if w in held]
    if own:
        every = [one for several in own for one in (several if isinstance(several, list) else [several])]
        return [int(np.count_nonzero(one)) for one in every]
    known = any(made in held for made in _MADE_OF) or "estimator" in held
    if not known and isinstance(held.get("n_features_in_"), int) and (is_classifier(part) or is_regressor(part)):
        raise NotMeasurableError(f"needs weights that can be told; {name} holds a {type(part).__name__}")
    return []


def _places(estimator: Any, task: Task, name: str) -> tuple[list[int], tuple[str, ...]]:  # noqa: ANN401 - likewise
    """Return the class of the task that each class of the estimator is, and a remark where that is not plain.

    Raises:
        TaskError: It has other classes.
    """
    known = estimator.classes_
    if isinstance(known, list):
        raise TaskError(f"{name} answers with {len(known)} targets at once; one is needed")
    given, classes = known.tolist(), task.classes
    named = {word: code for code, word in enumerate(task.class_names)}
    if named and all(str(value) in named for value in given):
        never = [word for word in named if word not in set(map(str, given))]
        told = f"{name} was fitted without class {', '.join(never)}, which it never names"
        return [named[str(value)] for value in given], ((told,) if never else ())
    whole = [int(value) for value in given if not isinstance(value, str) and float(value).is_integer()]
    if len(whole) == len(given) and all(0 <= code < classes for code in whole):
        missing = sorted(set(range(classes)) - set(whole))
        told = f"{name} was fitted without class {', '.join(map(str, missing))}, which it never names"
        return whole, ((told,) if missing else ())
    if len(given) != classes or named:
        theirs = ", ".join(task.class_names) or f"{classes}, 0 to {classes - 1}"
        raise TaskError(f"{name} knows the classes {', '.join(map(str, given))}; the task has {theirs}")
    told = ", ".join(f"{value} as {code}" for code, value in enumerate(given))
    return list(range(classes)), (f"classes of {name} are taken in their order: {told}",)


def _columns(estimator: Any, task: Task, name: str) -> tuple[list[str], tuple[str, ...]]:  # noqa: ANN401 - likewise
    """Return the names of the columns that an estimator is handed a table of; none where it takes a matrix.

    Raises:
        TaskError: It was fitted on other columns.
    """
    wide = int(np.prod(task.shape))
    named = getattr(estimator, "feature_names_in_", None)
    wanted = int(getattr(estimator, "n_features_in_", wide))
    if named is None or not task.features:
        if wanted != wide:
            raise TaskError(
                f"{name} was fitted on {wanted} columns, the data have {wide}; fit it on the columns that the data have"
            )
        return [], ()
    lacking = [column for column in named.tolist() if column not in task.features]
    if lacking:
        own = ", ".join(task.features[:4])
        raise TaskError(
            f"{name} was fitted on {len(lacking)} columns that the data lack, such as {lacking[0]!r}; they have {own} "
            "...: fit it on the columns that the data have, or give the scores that it writes of them as a file"
        )
    told = (
        f"{name} is handed the {wanted} columns that it was fitted on, by their names, as the file of the data has them"
    )
    return named.tolist(), (told,)


def _table(rows: Any, columns: Sequence[str], features: Sequence[str]) -> Any:  # noqa: ANN401 - an array, a table
    picked = rows[:, [features.index(column) for column in columns]]
    try:
        import pandas  # noqa: PLC0415 - an extra
    except ImportError:  # what takes columns by their places is content
        return picked
    return pandas.DataFrame(picked, columns=list(columns), copy=False)
