"""A log of Inspect (``.eval``): what was asked, and how what a model wrote was graded, sample by sample and epoch.

The file is a zip of JSON. Its members are read into memory one at a time, bounded by what the archive says of them and
by the limit of every file; no name in it becomes a path. Newer releases pack by zstandard, which Python reads from 3.14
on: until then its package does.

Two samples are of the same question where task, number and epoch agree, and three hashes: of the item (input, choices,
target), of the prompt (all messages before the first that the model wrote), and of how it was asked (solvers, and what
moves an answer, such as a temperature).

Source:
    UK AI Security Institute, Inspect, 2024, github.com/UKGovernmentBEIS/inspect_ai: ``log/_recorders/eval.py`` writes
    the file, ``scorer/_metric.py`` the grades.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whatelse import limits
from whatelse.errors import MissingExtraError, TaskError, in_short, nearest, shown
from whatelse.tasks.language import Passage

ENDING = ".eval"
SAMPLES, HEADER = "samples/", "header.json"
GRADES = ("wrong", "right")
_RIGHT, _WRONG = {"c", "1", "1.0", "true", "yes"}, {"i", "n", "0", "0.0", "false", "no"}
# What moves an answer, out of what a model is told when it is asked.
_MOVES = (
    *("temperature", "top_p", "top_k", "max_tokens", "stop_seqs", "system_message", "frequency_penalty"),
    *("presence_penalty", "logit_bias", "reasoning_effort", "reasoning_tokens", "effort", "response_schema"),
)
_ZSTANDARD, _HEAD, _SIGNATURE = 93, 30, b"PK\x03\x04"
_WINDOW = 2**27  # bytes that an unpacker holds, as zstandard allows without being asked
_ATTACHED = "attachment://"
_GROWTH = 12  # bytes in memory for one of JSON
# What a damaged archive raises.
_BROKEN = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)
_HASHES = ("task", "item", "prompt", "manner")


@dataclass(frozen=True)
class Mark:
    """By what a sample is known.

    Attributes:
        sample: Its ``id``.
        epoch: Which time it was asked.
        task: Name of the task.
        item: Hash of input, choices and target.
        prompt: Hash of the messages before the first that the model wrote.
        manner: Hash of solvers and settings.
        scorer: Whose grades are read.
    """

    sample: str
    epoch: int
    task: str
    item: str
    prompt: str
    manner: str
    scorer: str

    def __str__(self) -> str:
        """Return it as a passage holds it."""
        return json.dumps([self.sample, self.epoch, *(getattr(self, name) for name in _HASHES), self.scorer])

    @property
    def place(self) -> tuple[str, int]:
        """Which sample it is, and which time."""
        return self.sample, self.epoch

    def apart(self, other: Mark) -> str:
        """Return in what another sample of the same place differs; nothing where it does not.

        Args:
            other: Of another log.
        """
        return next((name for name in _HASHES if getattr(self, name) != getattr(other, name)), "")


def marked(text: str) -> Mark | None:
    """Return the mark that a passage holds; None of one that was not read from such a log.

    Args:
        text: Its mark.
    """
    if not text.startswith("["):
        return None
    return Mark(*json.loads(text))


@dataclass(frozen=True)
class Graded:
    """A sample of a log.

    Attributes:
        mark: By what it is known.
        text: What was asked.
        right: Whether what the model wrote was graded right.
        row: ``metadata``, ``id`` and ``epoch``.
    """

    mark: Mark
    text: str
    right: bool
    row: Mapping[str, Any]

    @property
    def passage(self) -> Passage:
        """What was asked, as a task holds it."""
        return Passage(self.text, GRADES, mark=str(self.mark))


def looks(path: Path) -> bool:
    """Return whether a file is such a log, by its name and by what the archive says of itself.

    Args:
        path: Of a file.
    """
    try:
        if path.suffix.lower() != ENDING or not limits.regular(path):
            return False
        with zipfile.ZipFile(path) as file:
            return any(name == HEADER or name.startswith((SAMPLES, "_journal/")) for name in file.namelist())
    except _BROKEN:
        return False


def read(path: Path, scorer: str = "") -> list[Graded]:
    """Return the samples of a log, in the order of the file.

    Args:
        path: Of the file.
        scorer: Whose grades are read; empty for the one that Inspect names first.

    Raises:
        TaskError: It cannot be read, did not end, or has no grade of right or wrong for every sample.
        MissingExtraError: It is packed by zstandard, which is not installed.
    """
    told = str(path)
    try:
        held = limits.regular(path)
        with zipfile.ZipFile(path) as file:
            parts = {part.filename: part for part in file.infolist()}
            wanted = [part for name, part in parts.items() if name.startswith(SAMPLES) and name.endswith(".json")]
            if HEADER not in parts:
                raise TaskError(f"{told}: no {HEADER}; a log of Inspect that ended is needed")
            sizes = [part.file_size for part in (*wanted, parts[HEADER])]
            limits.check(sum(sizes) + _GROWTH * max(sizes), held, told, TaskError)
            about = _about(_json(file, path, parts[HEADER]), scorer, told)
            found = [_graded(_json(file, path, part), about, f"{told}: {part.filename}") for part in wanted]
    except _BROKEN as error:
        raise TaskError(f"{told}: {getattr(error, 'strerror', None) or in_short(error)}") from error
    if not found:
        raise TaskError(f"{told}: it has no samples; a log of Inspect that ended is needed")
    places = [one.mark.place for one in found]
    if len(set(places)) < len(places):
        raise TaskError(f"{told}: it has a sample twice in one epoch; a log as Inspect wrote it is needed")
    return found


def _json(file: zipfile.ZipFile, path: Path, part: zipfile.ZipInfo) -> dict[str, Any]:
    """Return a member, which is a JSON object.

    Raises:
        TaskError: It is none.
    """
    data = _unpacked(path, part) if part.compress_type == _ZSTANDARD else file.read(part)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path}: {part.filename} is no JSON; a log as Inspect wrote it is needed") from error
    if not isinstance(found, dict):
        raise TaskError(f"{path}: {part.filename} is no JSON object; a log as Inspect wrote it is needed")
    return found


def _unpacked(path: Path, part: zipfile.ZipInfo) -> bytes:
    """Return a member that zstandard packed; never more than the archive says that it has.

    Raises:
        MissingExtraError: The package is not installed.
        BadZipFile: It is not what the archive says.
    """
    try:
        import zstandard  # noqa: PLC0415 - only for such files
    except ImportError as error:
        raise MissingExtraError(
            f"{path} is packed by zstandard, as Inspect does: pip install 'whatelse[inspect]'"
        ) from error
    with path.open("rb") as raw:
        raw.seek(part.header_offset)
        head = raw.read(_HEAD)
        if head[:4] != _SIGNATURE:
            raise zipfile.BadZipFile(f"{part.filename} does not stand where the archive says")
        raw.seek(sum(struct.unpack("<HH", head[26:30])), 1)
        packed = raw.read(part.compress_size)
    try:
        unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        with unpacker.stream_reader(packed, read_across_frames=True) as stream:
            data: bytes = stream.read(part.file_size + 1)
    except zstandard.ZstdError as error:
        raise zipfile.BadZipFile(f"{part.filename} cannot be unpacked: {error}") from error
    if len(data) != part.file_size or zlib.crc32(data) != part.CRC:
        raise zipfile.BadZipFile(f"{part.filename} is damaged: its bytes are not those that were packed")
    return data


@dataclass(frozen=True)
class _About:
    """What a log says of all its samples: its task, how it was asked, and whose grades are read."""

    task: str
    manner: str
    scorer: str


def _about(header: Mapping[str, Any], scorer: str, told: str) -> _About:
    """Return what a log says of all its samples.

    Raises:
        TaskError: It did not end, or has no such scorer.
    """
    if header.get("status") != "success":
        raise TaskError(
            f"{told}: its status is {shown(header.get('status'), 40)}; a log of Inspect that ended in success is needed"
        )
    run, plan, results = (_object(header.get(name)) for name in ("eval", "plan", "results"))
    names = [str(one.get("name")) for one in map(_object, _listed(results.get("scores")))]
    if not names:
        raise TaskError(f"{told}: it has no scores; a log that was scored is needed (inspect score)")
    first = str(_object(results.get("headline")).get("score") or names[0])
    if scorer and scorer not in names:
        raise TaskError(f"{told}: it has no scores of {scorer!r}; {nearest(scorer, names)}")
    steps = [
        (one.get("solver"), one.get("params_passed", one.get("params")))
        for one in map(_object, _listed(plan.get("steps")))
    ]
    asked = _object(run.get("model_generate_config")) | _object(plan.get("config"))
    moves = {name: asked[name] for name in _MOVES if asked.get(name) is not None}
    return _About(str(run.get("task")), _digest(steps, moves), scorer or first)


def _graded(sample: Mapping[str, Any], about: _About, told: str) -> Graded:
    """Return a sample.

    Raises:
        TaskError: It lacks something, or is graded otherwise than right or wrong.
    """
    if "id" not in sample or not isinstance(sample.get("epoch"), int):
        raise TaskError(f"{told}: no id and epoch; a sample as Inspect wrote it is needed")
    score = _object(sample.get("scores")).get(about.scorer)
    if score is None:
        why = "it ended in an error" if sample.get("error") else "it was not scored"
        raise TaskError(f"{told}: no score of {about.scorer!r}: {why}; run it again (inspect eval-retry)")
    held = _object(sample.get("attachments"))
    asked = [_message(one, held) for one in _before(sample.get("messages"))]
    text = sample.get("input")
    item: list[object] = [text if isinstance(text, str) else [_message(one, held) for one in _listed(text)]]
    item += [sample.get("choices"), sample.get("target")]
    right = _right(_object(score).get("value"), about.scorer, told)
    hashes = (about.task, _digest(*item), _digest(asked), about.manner)
    mark = Mark(str(sample["id"]), sample["epoch"], *hashes, about.scorer)
    shows = text if isinstance(text, str) else next((str(said) for role, said in reversed(asked) if role == "user"), "")
    row = _object(sample.get("metadata")) | {"id": mark.sample, "epoch": mark.epoch}
    return Graded(mark, shows, right, row)


def _right(value: object, scorer: str, told: str) -> bool:
    """Return whether a grade is right.

    Raises:
        TaskError: It is neither right nor wrong.
    """
    said = str(value).strip().lower() if isinstance(value, str | int | float) else ""
    if said in _RIGHT or said in _WRONG:
        return said in _RIGHT
    raise TaskError(
        f"{told}: {scorer!r} graded it {shown(value, 40)}; grades of right or wrong (C, I, N, 1, 0) are read"
    )


def _before(messages: object) -> list[object]:
    """Return the messages before the first that the model wrote."""
    found: list[object] = []
    for one in _listed(messages):
        if _object(one).get("role") == "assistant" and _object(one).get("source") != "input":
            break
        found.append(one)
    return found


def _message(message: object, attachments: Mapping[str, Any]) -> tuple[str, object]:
    """Return who speaks, and what: without the number that Inspect gives every message anew, attachments put in."""
    said = _object(message)
    content = said.get("content")
    if isinstance(content, str) and content.startswith(_ATTACHED):
        content = attachments.get(content.removeprefix(_ATTACHED), content)
    return str(said.get("role")), content


def _object(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _listed(found: object) -> list[object]:
    return found if isinstance(found, list) else []


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
