"""Every check fails where an item breaks what it demands, and passes the item that is not broken."""

import multiprocessing
import re
from pathlib import Path
from unittest import SkipTest

import pytest
import torch

from whatelse import registry, templates, testing
from whatelse.errors import ItemError, SettingError, UnknownItemError
from whatelse.testing import engines

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

NAMES = {
    "behaviour": "mine.share",
    "method": "mine.clip",
    "loader": "clouds",
    "net": "small",
    "strategy": "grid",
    "surface": "lines",
    "control": "trained_longer",
    "engine": "commands",
    "opener": "centers",
    "exhibit": "otherwise",
    "gate_surface": "verdicts",
    "search_surface": "trials",
}


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Whatever a test adds is forgotten after it."""
    monkeypatch.setattr(registry, "_ADDED", {})


@pytest.fixture
def broken(tmp_path):
    def write(word, *changes):
        """The file of the template, changed."""
        file, _ = templates.write(word, NAMES[word], tmp_path)
        text = file.read_text("utf-8")
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        file.write_text(text, "utf-8")
        return file

    return write


STAYING = '''"""Workers that stay."""

from whatelse.engines.processes import Processes

ITEM = "engine staying"


class Staying(Processes):
    def close(self):
        pass


def start(workers):
    """Start one."""
    return Staying(workers)
'''


def given_to(word, folder):
    """What an item of a template needs to be tried with: an opener a file of its form, of the sample images."""
    if word != "opener":
        return {}
    file = folder / "three.centers"
    rng = torch.Generator().manual_seed(0)
    file.write_text("\n".join(" ".join(map(str, row)) for row in torch.rand(3, 64, generator=rng).tolist()))
    return {"text": str(file)}


def one(word, name):
    (found,) = [check for check in testing.checks(word) if check.name == name]
    return found


def test_every_kind_of_template_has_a_contract_with_a_name_for_each_check():
    for word in NAMES:
        names = [str(check) for check in testing.checks(word)]
        assert len(set(names)) == len(names) > 2
    with pytest.raises(ItemError, match="no contract of the kind layers; there are method, behaviour, net, loader"):
        testing.checks("layers")
    with pytest.raises(UnknownItemError, match="did you mean behaviour"):
        testing.checks("behavior")


@pytest.mark.slow
@pytest.mark.parametrize("word", NAMES)
def test_what_is_not_broken_passes(broken, word, tmp_path):
    testing.check(word, broken(word), **given_to(word, tmp_path))


RETURN = 'return Answer({"wrong": (better >= config.top).float()})'
WRONG = '{"wrong": (better >= config.top).float()'
ITSELF = "it repeats and writes nothing itself"
DECIDED = "it shows every decision"
ENDED = "it shows every ending"
CONSTANTS, FIT = "it has constants and no code", "its constants fit each other"
RETURNS, REFUSES = "it gives back what jobs return and raise", "it refuses what nothing here has"
CHECKED = 'check(needs, Resources(1, 0, memory()), "--on commands")'
ANY, OPENS = "it says of any text whether it is its own", "it opens a model"
ONE_LINE = "it refuses in one line"
ASKS, LEAVES = "it asks for configurations of its space", "it repeats and leaves everything alone"
DRAWN, REPEATS = "it yields what a page can draw", "it repeats and leaves everything alone"
BEARS = "it bears what is not there"
FORM, ALONE = "it answers in the form of an answer", "it repeats and leaves everything alone"
BROKEN = [
    ("behaviour", "it says what it is and where it comes from", "Source:", "Sauce:", "no Source:"),
    ("behaviour", "its settings are declared", "dataclass(frozen=True)", "dataclass", "Config is not frozen"),
    ("behaviour", "its settings are declared", "low=1)", "low=2)", "its default 1 is outside its own range"),
    ("behaviour", "its parts are in order", "def measure", "def helper():\n    '''Help.'''\n\ndef measure", "must be"),
    ("behaviour", "its parts are in order", "answer: Answer, config", "answer: Answer, settings", "it must take"),
    ("behaviour", "it says where its scale ends", "WORST, BLIND = 1.0, None", "WORST, BLIND = 0.0, 0.5", "is better"),
    ("behaviour", "its summaries can be resampled", "share: np.ndarray = ", "raise KeyError(7)\n    ", "7"),
    ("behaviour", FORM, WRONG, '{"wrong": better / 0', "not finite"),
    ("behaviour", FORM, WRONG, '{"wrong": better >= 1', "float32 or float64"),
    ("behaviour", "its summaries can be resampled", "/ weights.sum(1)", "* np.ones((1, 3))", "(3,) is needed"),
    ("behaviour", FORM, "    del rng", "    evidence.split('absent')", "no split 'absent'"),
    ("behaviour", FORM, WRONG + "}", WRONG + "}, notes=['a list']", "are tuples"),
    ("behaviour", FORM, WRONG + "}", WRONG + "}, notes=('two\\nlines',)", "one line each"),
    ("behaviour", FORM, WRONG + "}", WRONG + "}, doubts=('text',)", "made by Doubt"),
    ("behaviour", FORM, WRONG + "}", WRONG + "}, ends={'best': 1.0}", "worst and blind"),
    ("behaviour", FORM, WRONG + "}", WRONG + "}, rows=better[:3]", "number of rows"),
    ("behaviour", FORM, RETURN, "return better.float()", "an Answer is needed"),
    ("behaviour", ALONE, "    del rng", "    evidence.again += 1", "say it in the answer"),
    ("behaviour", ALONE, "    del rng", "    torch.rand(1)", "of the process"),
    ("behaviour", ALONE, RETURN, RETURN.replace(
        ".float()", ".float() + torch.rand(90, generator=torch.Generator().manual_seed(NOW))"
    ), "other values"),
    ("behaviour", ALONE, "    del rng",
     "    next(evidence.model.parameters()).add_(1)", "changed the weights"),
    ("behaviour", ALONE, "    del rng",
     "    evidence.split('test').inputs.mul_(0.5)", "wrote on the examples"),
    ("behaviour", ALONE, "    del rng",
     "    evidence.model.register_forward_hook(print)", "left a hook"),
    ("behaviour", "it answers alike whatever the batch", RETURN,
     RETURN.replace(".float()", ".float() + evidence.batch"), "in batches of 32"),
    ("behaviour", "it answers alike whatever the order", RETURN,
     RETURN.replace(".float()", ".float() + labels * torch.arange(90)"), "in another order"),
    ("behaviour", "it costs no more than it says", "def summarise",
     "def effort(config, task):\n    '''Say.'''\n    return 10**9\n\ndef summarise", "effort says 1000000000"),
    ("method", "it names its knob and its place in a recipe", '"limit", {', '"limits", {', "KNOB is 'limits'"),
    ("method", "it names its knob and its place in a recipe", '"sparse"}', '"sparse", "thin"}', "TAKES is"),
    ("method", "it returns a copy that answers", "copied(model)", "model", "return a copy"),
    ("method", "it returns a copy that answers", "return clipped", "return clipped[:-1]", "is needed"),
    ("method", "it repeats and leaves the process alone", "    del task, rng", "    torch.rand(1)", "of the process"),
    ("method", "it never looks at test", "    del task, rng\n    clipped = copied(model)\n",
     "    clipped = copied(model)\n    next(clipped.parameters()).mul_(1 + task.test.targets[0])\n", "of test"),
    ("method", "its model can be kept", "return clipped",
     "return nn.Sequential(clipped, type('Mine', (nn.Identity,), {})())", "cannot be written as data"),
    ("method", "it trains about as long as is said", "    del task, rng",
     "    for _ in range(30):\n        model(task.train.inputs)", "say so in effort"),
    ("loader", "it loads the same task twice", "manual_seed(_SEED)", "manual_seed(NOW)", "another task"),
    ("loader", "its splits hold different examples", 'splits["calibration"]', 'splits["test"] = splits["train"]\n'
     '    splits["calibration"]', "are in train too"),
    ("loader", "its suffixes can be opened", "VERSION = 1", 'VERSION, SUFFIXES = 1, ("csv",)', "write .csv"),
    ("net", "its first weights repeat", "initialize(model, rng)", "initialize(model, torch.Generator())", "draw them"),
    ("net", "it takes one kind of inputs and refuses the others", "math.prod(shape)", "shape[0]", "does not take them"),
    ("strategy", ASKS, "range(1, len", "range(2, 1 + len", "option 6 of conv2, which has 6"),
    ("strategy", ASKS, "*alone[at + 1 :]", "*alone[at:]", "3 numbers are needed"),
    ("strategy", ASKS, "option, *", "float(option), *", "option 1.0 of conv2"),
    ("strategy", ASKS, "next(self.left, None)", "None", "no configuration that changes anything"),
    ("strategy", LEAVES, "    del rng", "    torch.rand(1)", "of the process"),
    ("strategy", LEAVES, "iter(found)",
     "iter([found[i] for i in torch.randperm(len(found), generator=torch.Generator().manual_seed(NOW))])",
     "other configurations"),
    ("strategy", LEAVES, "    del rng", "    problem.model[0].weight.mul_(2)", "changed the weights of the baseline"),
    ("strategy", LEAVES, "    del rng", "    problem.model.train()", "left the baseline in training mode"),
    ("strategy", LEAVES, "    del rng", "    problem.task.train.inputs.mul_(0.5)", "wrote on the examples"),
    ("strategy", "it is told late and of failures", "del tried, score", "assert not score.why, 'over it'", "over it"),
    ("strategy", "it has its say in lines", "return ()", "return ('one\\ntwo',)", "lines of text are needed"),
    ("strategy", "it bears a space where nothing works", "del tried, score", "score.over['flips']", "flips"),
    ("strategy", "it ends or goes on", "next(self.left, None)", "next(self.left, None) or (self.__dict__.setdefault("
     "'n', []).append(1) or (None if len(self.n) < 2 else (1,)))", "it had no more"),
    ("surface", "its parts are in order", 'HELP = "Write', '"Write', "no HELP"),
    ("surface", "it shows findings", "return stream.getvalue()", "return ''", "nothing to read"),
    ("surface", "it shows findings", "    stream =", "    findings.findings[0]\n    stream =", "out of range"),
    ("surface", ITSELF, "getvalue()", "getvalue() + str(NOW)", "another text"),
    ("surface", ITSELF, "    stream =", "    open('x', 'w').close()\n    stream =", "wrote x"),
    ("gate_surface", "its parts are in order", 'HELP = "Write', '"Write', "no HELP"),
    ("gate_surface", DECIDED, 'return "".join(lines)', 'return " "', "of NO-GO it gives nothing to read"),
    ("gate_surface", DECIDED, "{ruling.verdict}", "", "it shows one decision as it shows another"),
    ("gate_surface", ITSELF, "{ruling.verdict}", "{ruling.verdict} {NOW}", "another text"),
    ("gate_surface", ITSELF, "    del findings", "    open('x', 'w').close()", "wrote x"),
    ("search_surface", "its parts are in order", 'HELP = "Write', '"Write', "no HELP"),
    ("search_surface", ENDED, 'return "".join(lines)', 'return " "', "confirmed it gives nothing to read"),
    ("search_surface", ENDED, "{chosen}", "", "it shows one search as it shows another"),
    ("search_surface", ITSELF, "{trial.binding}", "{trial.binding} {NOW}", "another text"),
    ("search_surface", ITSELF, "    verdicts =", "    open('x', 'w').close()\n    verdicts =", "wrote x"),
    ("control", "it says what it is and where it comes from", "Source:", "Sauce:", "no Source:"),
    ("control", CONSTANTS, "VERSION, ROLE", "HALF = 2\nVERSION, ROLE", "it has HALF; a control is its constants alone"),
    ("control", CONSTANTS, "VERSION, ROLE", "def helper():\n    pass\n\nVERSION, ROLE", "it has helper"),
    ("control", CONSTANTS, '"baseline", 0, 0, 0', '"baseline", 0, 5 * 2, 0', "OWN_SEED is computed"),
    ("control", CONSTANTS, 'RECIPE, NAMED, SHADOWS = "study"', 'RECIPE, NAMED, SHADOWS = "studies"', "recipe: got"),
    ("control", CONSTANTS, '"baseline", True, False', '"baseline", 1, False', "also: got 1"),
    ("control", CONSTANTS, '1, "control"', '1, "baseline"', "ROLE is 'baseline'; it may be placebo, twin"),
    ("control", FIT, '"trained longer"', '"longer"', "a study names it 'trained longer'"),
    ("control", FIT, '"baseline", 0, 0, 0', '"candidate", 0, 0, 0', "one of a candidate has {candidate} in it"),
    ("control", FIT, '"own"', '"candidate"', "SHADOWS is candidate, and AFTER is baseline"),
    ("control", FIT, '"baseline", True', '"candidate", True', "HELD is candidate, and AFTER is baseline"),
    ("control", FIT, '"baseline", 0, 0, 0', '"baseline", -1, 0, 0', "are 0 or more"),
    ("control", "a study can be planned with it", '1, "control"', '1, "retest"', "nothing tells them apart"),
    ("engine", "its parts are in order", "start(workers: int)", "start(count: int)", "start takes ('count',)"),
    ("engine", RETURNS, "        return result", "        return len(args)", "came back as [1, 1, 1]"),
    ("engine", RETURNS, "told = False, error", "told = True, error", "ValueError is needed"),
    ("engine", RETURNS, "self.slots = slots", "self.slots = 0", "slots is 0"),
    ("engine", RETURNS, "return self._threads.submit(self._run, call, args)", "return self._run(call, args)",
     "submit returned int; a concurrent.futures.Future is needed"),
    ("engine", REFUSES, CHECKED, "pass", "it took a job with Resources(cpus=1000000.0"),
    ("engine", REFUSES, CHECKED, "raise ValueError(needs)", "a StudyError is needed"),
    ("engine", REFUSES, "Resources(1, 0, memory())", "Resources(1, 1e9, memory())", "took a job with Resources(cpus=1"),
    ("engine", "it ends at once with stop", "process.kill()", "pass", "after stop a process in which a job ran"),
    ("opener", "its parts are in order", 'FORM = "', 'FORM = " ', "say what it takes, in words"),
    ("opener", "its parts are in order", "def takes(text:", "def takes(name, text:", "takes cannot be called as"),
    ("opener", ANY, 'text.endswith(".centers") and', '"" or text and text.endswith(".centers") and', "is ''; True or"),
    ("opener", ANY, "not os.path.isdir(text)", "not os.stat(text)", "raised FileNotFoundError"),
    ("opener", "it takes no text of another opener", 'text.endswith(".centers")', "True", "which is a small network"),
    ("opener", "it takes no text of another opener", '".centers") and', '".center") and', "which it was given to open"),
    ("opener", OPENS, "    return Centers(rows", "    return (rows", "it gave tuple; a torch.nn.Module, or"),
    ("opener", OPENS, "f\"centers-{", "f\"{NOW}{", "opened twice it is another model"),
    ("opener", OPENS, ".sum(2)", ".sum(2)[:, :2]", "its model answers with scores of 2 classes; the data have 3"),
    ("opener", OPENS, "    return Centers(rows", "    return torch.nn.Flatten()\n    (rows", "is in training mode"),
    ("opener", ONE_LINE, "except (OSError, ValueError)", "except ValueError", "it raised FileNotFoundError"),
    ("opener", ONE_LINE, "    if weights:", "    if False:", "it opened 'three.centers' with weights, which"),
    ("opener", ONE_LINE, 'f"{text}: {error};', 'f"{error.errno}:', "name what was typed"),
    ("opener", ONE_LINE, 'f"{text}: {error};', 'f"{text}:\\n{error};', "says more than one line"),
    ("exhibit", "its parts are in order", "VERSION, SCOPE = 1", "VERSION, SCOPE = int(1)", "VERSION is computed"),
    ("exhibit", "its parts are in order", '"row"', '"page"', "SCOPE has 'page'"),
    ("exhibit", DRAWN, "row=asked.measurement.row", "row='mine'", "row is 'mine'; that of the measurement"),
    ("exhibit", DRAWN, "candidate=candidate.name", "candidate='twin'", "candidate is 'twin'"),
    ("exhibit", DRAWN, "for row in rows[:SHOWN]", "for row in rows[:0]", "has nothing to see"),
    ("exhibit", DRAWN, "index=row", "index=asked.task.test.targets[row]", "JSON c"),
    ("exhibit", DRAWN, "picture(test.inputs[row], asked.task)", "((0.0, 2.0),)", "outside 0 to 1"),
    ("exhibit", DRAWN, "picture(test.inputs[row], asked.task)", "((0.0, 1.0), (1.0,))", "lines of several lengths"),
    ("exhibit", REPEATS, "    test = asked", "    new = NOW\n    test = asked", "gave other exhibits"),
    ("exhibit", REPEATS, "    test = asked", "    import torch\n    torch.rand(1)\n    test = asked", "of the process"),
    ("exhibit", REPEATS, "    test = asked", "    asked.task.test.inputs.mul_(0.5)\n    test = asked", "it wrote on"),
    ("exhibit", BEARS, "if before is None or after is None", "if False", "models and answers that are gone it raised"),
    ("exhibit", BEARS, "picture(test.inputs[row], asked.task)", "picture(test.inputs[row][0:1], asked.task) if "
     "test.inputs[row].dim() == 3 else 1 / 0", "of texts it raised ZeroDivisionError"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "name", "before", "after", "message"), BROKEN, ids=lambda value: value[:30])
def test_a_broken_item_is_found(broken, word, name, before, after, message, tmp_path, monkeypatch):
    if word == "engine":
        monkeypatch.setattr(engines, "_PATIENCE", 5.0)
    # Twice the same clock is not read.
    file = broken(word, (before, after.replace("NOW", "__import__('time').perf_counter_ns()")))
    # Also what the item itself raises: a test framework shows where.
    with pytest.raises(Exception, match=re.escape(message)) as error:
        one(word, name)(file, **given_to(word, tmp_path))
    assert not isinstance(error.value, SkipTest)


def test_a_process_that_stays_after_close_is_found_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_PATIENCE", 5.0)
    file = tmp_path / "staying.py"
    file.write_text(STAYING, "utf-8")
    before = multiprocessing.active_children()
    with pytest.raises(testing.ContractError, match="after close a process in which a job ran is left"):
        one("engine", "it leaves no process after close")(file)
    # The executor's own thread waits for the killed process too; until it has, the process is listed.
    assert engines._until(lambda: multiprocessing.active_children() == before)


def test_all_that_is_broken_is_said_at_once(broken):
    file = broken("strategy", ("Source:", "Sauce:"), ("    del rng", "    torch.rand(1)"))
    with pytest.raises(testing.ContractError) as error:
        testing.check("strategy", file)
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("it says what it is and where it comes from: grid.py: its docstring has no Source:")
    assert lines[1].startswith("it repeats and leaves everything alone: grid.py: it drew from the generator")


def test_a_summary_by_the_order_of_columns_is_found(broken):
    more = ('{"wrong": ', '{"label": labels.float(), "wrong": ')
    check = one("behaviour", "its summaries can be resampled")
    file = broken("behaviour", more)
    check(file)
    file.write_text(file.read_text("utf-8").replace('answer["wrong"]', "answer.matrix()[:, 1]"), "utf-8")
    with pytest.raises(testing.ContractError, match="goes by the order of columns"):
        check(file)


def test_a_method_that_says_that_it_goes_by_layers_and_does_not_is_found(broken):
    check = one("method", "what goes by layers goes by one alone")
    file = broken(
        "method",
        (
            "    del task, rng\n    clipped = copied(model)\n",
            "    clipped = copied(model)\n    next(clipped.parameters()).mul_(task.classes)\n",
        ),
    )
    check(file)
    file.write_text(file.read_text("utf-8").replace("VERSION, KNOB", "LAYERWISE = True\nVERSION, KNOB"), "utf-8")
    with pytest.raises(testing.ContractError, match="a Conv2d alone becomes another than in a model"):
        check(file)


def test_settings_are_those_that_are_given(broken):
    file = broken("loader")
    testing.check("loader", file, count=20)
    with pytest.raises(SettingError, match="count=1 is outside"):
        testing.check("loader", file, count=1)


def test_a_file_of_another_kind_and_a_name_that_nothing_has_are_refused(broken):
    file = broken("loader")
    with pytest.raises(ItemError, match=r"clouds\.py: its ITEM is no method"):
        testing.check("method", file)
    with pytest.raises(UnknownItemError, match="no method named 'mine.clip'"):
        testing.check("method", "mine.clip")
    with pytest.raises(ItemError, match="No such file"):
        testing.check("method", Path("nowhere.py"))
