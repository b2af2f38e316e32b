import numpy as np
import pytest
import torch
from scipy import stats

from whatelse.exhibits.kinds import pie
from whatelse.findings import codec
from whatelse.findings.record import parse
from whatelse.study import run_study, spec

# Five examples: unanimous change, no change, change with doubt, a tie after, change with a doubtful baseline.
BEFORE = torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 0, 1], [0, 1, 2, 0, 2], [0, 0, 2, 0, 0]])
AFTER = torch.tensor([[1, 1, 0, 1, 2], [1, 1, 0, 1, 2], [1, 1, 0, 2, 2], [1, 2, 2, 2, 2]])


@pytest.mark.known_answer
def test_exemplars_by_hand_the_surest_first():
    found = pie.exemplars(BEFORE, AFTER)
    # The last: two of four baselines say 1, and no other label has as many.
    assert found.rows.tolist() == [0, 2, 4]
    assert found.before.tolist() == [0, 2, 1]
    assert found.after.tolist() == [1, 0, 2]
    assert found.agree_before.tolist() == [4, 4, 2]
    assert found.agree_after.tolist() == [4, 3, 4]


@pytest.mark.known_answer
def test_it_is_scipys_mode_where_no_labels_are_tied():
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 4, (7, 300)), rng.integers(0, 4, (5, 300))
    found = pie.exemplars(torch.from_numpy(before), torch.from_numpy(after))
    counts = [np.sort(np.stack([(p == k).sum(0) for k in range(4)]), 0) for p in (before, after)]
    clear = np.all([c[-1] > c[-2] for c in counts], 0)
    modes = [stats.mode(p, axis=0) for p in (before, after)]
    expected = np.flatnonzero(clear & (modes[0].mode != modes[1].mode))
    assert sorted(found.rows.tolist()) == expected.tolist()
    assert found.agree_before.tolist() == modes[0].count[found.rows].tolist()
    assert found.after.tolist() == modes[1].mode[found.rows].tolist()
    least = torch.minimum(found.agree_before / 7, found.agree_after / 5)
    assert bool((least[1:] <= least[:-1]).all())


def test_one_model_each_is_the_flips_and_a_tie_of_two_is_no_mode():
    assert pie.exemplars(BEFORE[:1], AFTER[:1]).rows.tolist() == [0, 2, 3, 4]
    assert pie.exemplars(torch.tensor([[0], [0]]), torch.tensor([[1], [0]])).rows.tolist() == []
    assert pie.exemplars(BEFORE, BEFORE).rows.tolist() == []


def test_populations_of_different_examples_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(4, 5\) and \(4, 3\); \(models, examples\)"):
        pie.exemplars(BEFORE, AFTER[:, :3])
    with pytest.raises(ValueError, match=r"shapes \(4, 5\) and \(0, 5\)"):
        pie.exemplars(BEFORE, AFTER[:0])


def shown_of(task, made, names=("baseline", "half", "twin"), answers=None):
    """The exhibits of four models each: of those that change, and of twins that change one example."""
    said = {"baseline": BEFORE, "half": AFTER, "twin": BEFORE.clone()} | (answers or {})
    said["twin"][:, 1] = 2

    class Says:
        def __init__(self, labels):
            self.labels = labels

        def answers(self, inputs):
            return torch.nn.functional.one_hot(self.labels[: len(inputs)], 3).float()

    evidence = {(name, seed): Says(said[name][seed]) for name in names for seed in range(4)}
    return list(pie.exhibits(made.asked_of(task, seeds=(0, 1, 2, 3), evidence=evidence)))


@pytest.mark.known_answer
def test_an_exhibit_says_who_agrees_and_shows_images_in_their_bounds(toy, made):
    inputs = torch.full((5, 1, 2, 2), -0.5)
    task = toy.task_of(inputs, [0, 1, 2, 0, 1], classes=3, bounds=(-1.0, 1.0))
    (shown,) = shown_of(task, made)
    found = made.there_and_back(shown)
    items = found.pop("items")
    assert found == {
        "row": "overfitting",
        "kind": "population",
        "task": "clean",
        "candidate": "half",
        "title": "read otherwise by most of 4 models: 3 of 5 examples; 1 after retraining alone",
    }
    assert items[1] == {
        "index": 2,
        "truth": "2",
        "before": "2",
        "after": "0",
        "note": "4 of 4 agree before, 3 of 4 after",
        "image": [[0.25, 0.25], [0.25, 0.25]],
    }
    (alone,) = shown_of(task, made, ("baseline", "half"))
    assert alone.title.endswith("3 of 5 examples"), "without a twin nobody knows what retraining does"


def test_of_a_table_examples_are_listed_without_a_picture(toy, made):
    (shown,) = shown_of(toy.task_of(torch.zeros(5, 3), [0, 1, 2, 0, 1], classes=3), made)
    assert len(shown.items) == 3
    assert all(item.image is None for item in shown.items)


def test_no_exemplars_no_model_or_one_seed_no_exhibit(toy, made):
    task = toy.task_of(torch.zeros(5, 3), [0, 1, 2, 0, 1], classes=3)
    assert shown_of(task, made, answers={"half": BEFORE}) == []
    assert shown_of(task, made, ("baseline", "twin")) == shown_of(task, made, ("half", "twin")) == []
    assert list(pie.exhibits(made.asked_of(task))) == []


def test_a_study_of_several_seeds_shows_its_populations_and_one_of_one_seed_none(small, tmp_path):
    text = small.replace("sparsity=0.9) > train.finetune(epochs=1)", "sparsity=0.8)").replace(
        "epochs = 6", "epochs = 3"
    )
    found = run_study.run_study(spec.parse(text, "small"), tmp_path, on="inline", show_examples=True)
    (shown,) = [e for e in found.exhibits if e.kind == "population"]
    assert (shown.row, shown.task, shown.candidate) == ("overfitting", "clean", "half")
    assert "of 900 examples" in shown.title
    assert "after retraining alone" in shown.title
    assert all(item.before != item.after for item in shown.items)
    # Two models: a modal label is one that both give.
    assert {item.note for item in shown.items} == {"2 of 2 agree before, 2 of 2 after"}
    assert len(shown.items[0].image) == 8
    assert parse(codec.to_json(found)).exhibits[-1].kind == "population"
    one = run_study.run_study(
        spec.parse(text.replace("seeds = [0, 1]", "seeds = [0]"), "small"), tmp_path, on="inline", show_examples=True
    )
    assert "population" not in {e.kind for e in one.exhibits}
