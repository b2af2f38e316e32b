#!/usr/bin/env bash
# skops asks for trust in every decision tree and every forest of scikit-learn.
#
# Behavior: a DecisionTreeClassifier or RandomForestClassifier that skops itself dumped names one untrusted type,
# sklearn.tree._tree.Tree, and load without trusted= raises UntrustedTypesFoundException. So do HistGradientBoosting
# (its TreePredictor), MLPClassifier (its AdamOptimizer) and CalibratedClassifierCV. Linear models, SVC, nearest
# neighbors and naive Bayes load as they are. With the type in trusted= all of them answer as before.
# Version: skops 0.16.0, scikit-learn 1.9.1.
# Source: skops.io.get_untrusted_types and skops.io.load (https://skops.readthedocs.io/en/stable/persistence.html).
# Why it matters: whoever moves forests from pickle to skops must trust a type by its private name first; a program that
# opens them has to say which types it trusts, and why.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q skops==0.16.0 scikit-learn==1.9.1 2>/dev/null
"$folder/venv/bin/python" - <<'PY'
import skops
import skops.io as io
import sklearn
from skops.io.exceptions import UntrustedTypesFoundException
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

print(f"skops {skops.__version__}, scikit-learn {sklearn.__version__}")
X, y = load_iris(return_X_y=True)
predictor = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
wanted = {
    DecisionTreeClassifier: ["sklearn.tree._tree.Tree"],
    RandomForestClassifier: ["sklearn.tree._tree.Tree"],
    HistGradientBoostingClassifier: [predictor],
    LogisticRegression: [],
}
for kind, types in wanted.items():
    made = kind(**({"max_iter": 1000} if kind is LogisticRegression else {})).fit(X, y)
    held = io.dumps(made)
    found = io.get_untrusted_types(data=held)
    try:
        io.loads(held)
        said = "loads"
    except UntrustedTypesFoundException:
        said = "is refused"
    print(f"{kind.__name__}: untrusted {found}, without trusted= it {said}")
    assert found == types, (kind, found)
    assert said == ("is refused" if types else "loads")
    assert (io.loads(held, trusted=found).predict(X) == made.predict(X)).all()
PY
