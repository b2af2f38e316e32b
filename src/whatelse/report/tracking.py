"""Findings in MLflow: a run for each candidate, in an experiment of the study's name.

Every finding gives its effect, the ends of its 95 % interval and the model's own value as metrics, and its verdict as a
tag; the record and the page are artifacts, without examples unless they are among the findings that are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from whatelse.errors import MissingExtraError, StoreError, in_short
from whatelse.findings import codec
from whatelse.findings.record import Candidate, Finding, Findings
from whatelse.findings.roles import Role
from whatelse.report import page

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NUMBERS = ("effect", "low", "high", "after")
_NOT_ALLOWED = re.compile(r"[^\w\-. /]")  # in the name of a metric
_LONGEST = 200  # letters of a name; MLflow takes 250, and a number's name follows
_BATCH = 900  # metrics of one request; MLflow takes 1,000


def log(findings: Findings, uri: str) -> int:
    """Write findings to a tracking store, and return how many runs were made.

    Args:
        findings: As loaded.
        uri: Of the store, such as ``sqlite:///runs.db`` or that of a server.

    Raises:
        MissingExtraError: MLflow is not installed.
        StoreError: The store cannot be written.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise MissingExtraError("--mlflow needs MLflow: pip install 'whatelse[mlflow]'") from error
    models = [c for c in findings.candidates if c.role is Role.CANDIDATE]
    try:
        client = MlflowClient(tracking_uri=uri)
        name = f"whatelse {findings.study.name}"
        held = client.get_experiment_by_name(name)
        experiment = client.create_experiment(name) if held is None else held.experiment_id
        for candidate in models:
            _run(client, experiment, findings, candidate)
    except (MlflowException, OSError) as error:
        raise StoreError(f"--mlflow {uri}: cannot be written: {in_short(error)}") from error
    return len(models)


def _run(client: MlflowClient, experiment: str, findings: Findings, candidate: Candidate) -> None:
    from mlflow.entities import Metric, Param, RunTag

    run = client.create_run(experiment, run_name=candidate.name).info.run_id
    when = _milliseconds(findings.created)
    told = list(_named(findings, candidate))
    metrics = [
        Metric(f"{name} {number}", value, when, 0)
        for name, finding in told
        for number in _NUMBERS
        if (value := getattr(finding, number)) is not None
    ]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run, metrics=metrics[start : start + _BATCH])
    tags = [("whatelse", findings.whatelse), *((f"verdict {name}", finding.verdict) for name, finding in told)]
    for start in range(0, len(tags), 100):
        client.log_batch(run, tags=[RunTag(*tag) for tag in tags[start : start + 100]])
    given = {"recipe": candidate.recipe, "study": findings.study.name, "created": findings.created}
    client.log_batch(run, params=[Param(key, value[:500]) for key, value in given.items() if value])
    client.log_text(run, codec.dumps(findings), "findings.json")
    client.log_text(run, page.render(findings), "page.html")
    client.set_terminated(run)


def _named(findings: Findings, candidate: Candidate) -> Iterator[tuple[str, Finding]]:
    """Yield what a candidate does against its own control, under names of their own that MLflow takes."""
    taken: set[str] = set()
    for finding in findings.findings:
        if finding.candidate == candidate.name and finding.leading:
            plain = _NOT_ALLOWED.sub("_", f"{finding.label} {finding.task}"[:_LONGEST])
            name = plain if plain not in taken else f"{plain} {_NOT_ALLOWED.sub('_', finding.id)[:20]}"
            taken.add(name)
            yield name, finding


def _milliseconds(created: str) -> int:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
