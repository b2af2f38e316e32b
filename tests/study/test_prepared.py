"""Models that want other inputs than the data has: declared, they answer as they did where they were trained."""

import pytest
import torch
from torch import nn

from whatelse import opening
from whatelse.auditing.questions import read_questions
from whatelse.errors import StudyError, TaskError
from whatelse.models.preparation import Preparation
from whatelse.study import audit

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

ASKED = """
name = "short"
title = "Short"
draws = 100
[[rows]]
name = "all"
title = "All"
[[measurements]]
row = "all"
item = "generalization.flips"
label = "flips"
margin = 0.02
primary = true
[[measurements]]
row = "all"
item = "attribution.agreement"
label = "agreement"
settings = { examples = 50 }
margin = 0.05
[[measurements]]
row = "all"
item = "mechanism.cka"
label = "layers"
margin = 0.05
"""


@pytest.fixture(scope="module")
def digits():
    return opening.load_task("digits")


@pytest.fixture(scope="module")
def plain():
    rng = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.3)
    return made.eval()


class Elsewhere(nn.Module):
    """The same network as another tool has it: bytes, channels last, standardized."""

    def __init__(self, plain):
        super().__init__()
        self.net = plain

    def forward(self, x):
        assert x.shape[-1] == 1, "channels last"
        return self.net((x.permute(0, 3, 1, 2) * 50 + 100) / 255)


DECLARED = Preparation(pixels="bytes", mean=(100.0,), std=(50.0,), layout="NHWC")


def found(digits, plain, other, **options):
    questions = read_questions(ASKED, "short")
    return {f.label: f for f in audit.audit(plain, {"other": other}, digits, questions, **options).findings}


@pytest.mark.known_answer
def test_declared_it_is_the_same_model_in_answers_gradients_and_layers(digits, plain):
    told = found(digits, plain, Elsewhere(plain), prepare={"other": DECLARED})
    assert told["flips"].after == 0
    assert told["agreement"].after == pytest.approx(1, abs=1e-3)
    assert told["layers"].after == pytest.approx(1, abs=1e-5)


def test_it_is_said_beside_the_model_and_the_other_one_has_nothing_done(digits, plain):
    questions = read_questions(ASKED, "short")
    made = audit.audit(plain, {"other": Elsewhere(plain)}, digits, questions, prepare={"other": DECLARED})
    said = {c.name: " ".join(c.remarks) for c in made.candidates}
    assert "in 0 to 255, less 100, divided by 50, laid out NHWC, as declared" in said["other"]
    assert "as declared" not in said["baseline"]


def test_not_declared_it_is_refused_before_anything_is_measured(digits, plain):
    with pytest.raises(TaskError, match="other"):
        found(digits, plain, Elsewhere(plain))


def test_a_model_in_a_file_is_prepared_in_worker_processes_too(digits, plain, tmp_path):
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def plain():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "class Last(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.net = plain()\n"
        "    def forward(self, x):\n        return self.net(x.permute(0, 3, 1, 2) / 255)\n"
        "def last():\n    return Last()\n"
    )
    texts = [f"{tmp_path / 'nets.py'}:{name}" for name in ("plain", "last")]
    prepare = {"last": Preparation(pixels="bytes", layout="NHWC")}
    questions = read_questions(ASKED, "short")
    made = audit.audit(texts[0], {"last": texts[1]}, "digits", questions, prepare=prepare, workers=1)
    (flips,) = [f for f in made.findings if f.label == "flips"]
    assert flips.after == 0


def test_a_name_that_no_model_has_is_refused(digits, plain):
    with pytest.raises(StudyError, match="prepare: no model 'othr'; there are: baseline, other"):
        found(digits, plain, plain, prepare={"othr": DECLARED})
