from whatelse.study import plan, spec


def of(text):
    study = spec.parse(text, "small")
    return study, plan.plan(study, dict.fromkeys(study.tasks, "task key"))


def test_every_model_of_every_seed_has_a_job_after_those_it_needs(small):
    _, found = of(small)
    names = [j.name for j in found.jobs]
    assert names == [f"clean · seed {s} · {who}" for s in (0, 1) for who in ("baseline", "placebo", "twin", "half")]
    for job in found.jobs:
        assert all(names.index(n) < names.index(job.name) for n in job.needs)
    (effects,) = found.effects
    assert set(effects.needs) == set(names)
    assert effects.pairs == (
        ("placebo", "baseline"),
        ("twin", "baseline"),
        ("half", "placebo"),
        ("half", "baseline"),
        ("half", "twin"),
    )


def test_keys_do_not_move(small):
    """If this fails, results of earlier releases can no longer be found. Raise VERSION of the item instead."""
    _, found = of(small)
    half = next(j for j in found.jobs if j.subject == "half")
    assert [link.key for link in half.chain] == [
        "nets.cnn-70a4e7ae1d471c83",
        "train.scratch-8b90426e2af95e4b",
        "prune.magnitude-7c2b86f172bb5244",
        "train.finetune-8d542cc501b6220f",
    ]
    assert half.cells[0].key == "generalization.accuracy-6682f8215e5305c7"


def test_defaults_may_be_written_or_left_out(small):
    written = small.replace("margin = 0.02", "margin = 0.02\nsettings = {}").replace("width = 4", "width = 4")
    assert of(written)[1].jobs == of(small)[1].jobs
    text = small.replace("settings = { width = 4, hidden = 16 }", "settings = { width = 16, hidden = 64 }")
    bare = small.replace("settings = { width = 4, hidden = 16 }", "")
    assert of(text)[1].jobs == of(bare)[1].jobs


def test_candidates_share_the_models_that_they_share(small):
    _, found = of(small)
    jobs = {(j.subject, j.seed): j for j in found.jobs}
    base, half, twin = jobs["baseline", 0], jobs["half", 0], jobs["twin", 0]
    assert half.chain[: len(base.chain)] == base.chain
    assert half.baseline == base.chain[-1].key == twin.baseline
    assert twin.chain[0].key != base.chain[0].key, "the twin starts from another seed"
    assert jobs["half", 1].chain[-1].key != half.chain[-1].key


def test_a_changed_setting_moves_only_what_rests_on_it(small):
    before, after = of(small)[1], of(small.replace("sparsity=0.9", "sparsity=0.6"))[1]
    moved = {a.subject for a, b in zip(before.jobs, after.jobs, strict=True) if a.cells != b.cells}
    assert moved == {"half"}


def test_scratch_continues_the_candidate(small):
    text = small.replace('twin = ""', 'twin = ""\nscratch = "train.scratch(epochs=1)"')
    _, found = of(text.replace('level = "strong"', 'level = "strong"\nown_controls = ["scratch"]'))
    jobs = {j.subject: j for j in found.jobs}
    own, made = jobs["half from scratch"], jobs["half"]
    assert own.chain[: len(made.chain)] == made.chain
    assert made.name in own.needs


def test_shadow_models_go_through_the_same_recipe(small):
    text = small.replace("values = { epochs = 6 }", "values = { epochs = 1 }\nreferences = 2")
    text = text.replace("generalization.accuracy", "membership.reference")
    _, found = of(text)
    shadows = [j for j in found.jobs if j.shadow is not None]
    assert {(j.subject, j.shadow) for j in shadows} == {(s, k) for s in ("baseline", "placebo", "half") for k in (0, 1)}
    half = next(j for j in found.jobs if j.subject == "half" and j.shadow is None)
    theirs = [j for j in shadows if j.subject == "half"]
    assert half.shadows == tuple(j.cells[0].key for j in theirs)
    assert [link.step for link in theirs[0].chain] == [link.step for link in half.chain]
    assert {j.name for j in theirs} <= set(half.needs)
    twin = next(j for j in found.jobs if j.subject == "twin")
    assert twin.shadows == tuple(j.cells[0].key for j in shadows if j.subject == "baseline")


def asked(small, *items):
    """A study with shadow models whose questions are these."""
    head, _ = small.replace("values = { epochs = 6 }", "values = { epochs = 1 }\nreferences = 2").split(
        "[[measurements]]"
    )
    row = '[[measurements]]\nrow = "overfitting"\nitem = "{0}"\nlabel = "{0}"\ntasks = ["clean"]\nmargin = 0.02\n'
    return of(head + "".join(row.format(item) for item in items) + "primary = true\n")[1]


def test_sensitivities_are_kept_only_where_a_question_needs_them(small):
    plain, both = asked(small, "membership.reference"), asked(small, "membership.reference", "membership.attention")
    before, after = ([j for j in found.jobs if j.shadow is not None] for found in (plain, both))
    assert {len(j.cells) for j in before} == {1}
    assert {len(j.cells) for j in after} == {2}
    half = next(j for j in both.jobs if j.subject == "half" and j.shadow is None)
    theirs = [j for j in after if j.subject == "half"]
    assert half.shadows == tuple(c.key for j in theirs for c in j.cells)
    assert {j.name for j in theirs} <= set(half.needs)


def test_a_question_that_needs_sensitivities_moves_no_other_result(small):
    plain, both = asked(small, "membership.reference"), asked(small, "membership.reference", "membership.attention")
    for before, after in zip(plain.jobs, both.jobs, strict=True):
        assert after.cells[: len(before.cells)] == before.cells
    half = next(j for j in both.jobs if j.subject == "half" and j.shadow is None)
    loose = asked(small, "membership.attention")
    alone = next(j for j in loose.jobs if j.subject == "half" and j.shadow is None)
    assert alone.cells[0].key == half.cells[1].key


def test_keys_of_shadow_models_do_not_move(small):
    """If this fails, what shadow models said in earlier releases can no longer be found."""
    shadow = next(j for j in asked(small, "membership.attention").jobs if j.subject == "half")
    assert shadow.name == "clean · shadow 0 · half"
    assert [c.key for c in shadow.cells] == ["shadow-515d9287725a04ab", "shadow.sensitivity-e9527d89e66bdaea"]
