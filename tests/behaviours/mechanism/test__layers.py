import pytest

from whatelse import registry
from whatelse.errors import NotMeasurableError

ITEMS = [registry.load("behaviours", n) for n in registry.names("behaviours") if n.startswith("mechanism.")]
PAIRED = [item for item in ITEMS if "compare" in vars(item)]


@pytest.mark.parametrize("item", PAIRED, ids=[item.__name__.rpartition(".")[2] for item in PAIRED])
@pytest.mark.parametrize("widths", [(6, 9, 3), (6, 9, 4, 3)], ids=["fewer layers", "fewer units"])
def test_what_refuses_another_basis_says_that_it_needs_the_same_units(toy, stack, gaussian, rng, item, widths):
    task = gaussian()
    baseline = toy.evidence_of(stack(6, 9, 9, 3), task)
    student = toy.evidence_of(stack(*widths), task, name="student", reference=baseline)
    if "same units" in item.NEEDS:
        with pytest.raises(NotMeasurableError, match="needs the baseline's basis; student has"):
            item.compare(baseline, student, item.Config(), rng)
    else:
        item.compare(baseline, student, item.Config(), rng)
