"""Findings in MLflow, read back from its own store."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from whatelse.errors import MissingExtraError, StoreError
from whatelse.findings.record import Findings, load
from whatelse.report import tracking

there = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed: whatelse[mlflow]"
)


@there
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_number_is_read_back_from_the_store(
    findings: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/runs.db"
    names = [c.name for c in findings.candidates if c.role == "candidate"]
    assert tracking.log(findings, uri) == len(names)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(f"whatelse {findings.study.name}")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == set(names)
    for name, run in runs.items():
        mine = [f for f in findings.findings if f.candidate == name and f.leading]
        numbers = [v for f in mine for v in (f.effect, f.low, f.high, f.after) if v is not None]
        assert sorted(run.data.metrics.values()) == pytest.approx(sorted(numbers))
        verdicts = [tag for key, tag in run.data.tags.items() if key.startswith("verdict ")]
        assert sorted(verdicts) == sorted(f.verdict for f in mine)
        assert run.info.status == "FINISHED"
    kept = client.download_artifacts(runs[names[0]].info.run_id, "findings.json", str(tmp_path))
    assert load(Path(kept)) == findings


@there
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_store_that_cannot_be_written_is_one_line(findings: Findings) -> None:
    with pytest.raises(StoreError, match="--mlflow nothing://at all: cannot be written"):
        tracking.log(findings, "nothing://at all")


def test_without_mlflow_the_extra_is_named(findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'whatelse\[mlflow\]'"):
        tracking.log(findings, "sqlite:///nowhere.db")
