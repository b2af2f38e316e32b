import numpy as np
import pytest
import torch

from whatelse.behaviours.leakage import _states, inversion
from whatelse.errors import NotMeasurableError
from whatelse.nets import cnn, resnet


def test_the_trained_model_is_the_evidences_own(zoo, toy):
    evidence = toy.evidence_of(zoo.models["whole"], zoo.task)
    assert _states.at(evidence, "trained", 5) is evidence.model


@pytest.mark.parametrize("name", ["whole", "pruned", "factored"])
def test_weights_are_drawn_anew_under_the_same_zeros(zoo, toy, name):
    evidence = toy.evidence_of(zoo.models[name], zoo.task)
    before = {n: p.clone() for n, p in evidence.model.named_parameters()}
    fresh, again = (_states.at(evidence, "untrained", 5) for _ in range(2))
    for n, p in fresh.named_parameters():
        assert torch.equal(p, again.get_parameter(n))
        assert not torch.equal(p, before[n])
        if p.dim() > 1:
            assert torch.equal(p == 0, before[n] == 0)
    assert all(torch.equal(p, before[n]) for n, p in evidence.model.named_parameters())
    assert not any(p.requires_grad for p in fresh.parameters())
    assert evidence.passes.forward == 0


@pytest.mark.known_answer
def test_early_training_step_by_step(zoo, toy):
    evidence = toy.evidence_of(zoo.models["pruned"], zoo.task)
    early, fresh = (_states.at(evidence, state, 3) for state in ("early", "untrained"))
    # All 12 train images fit into a batch, so that their order does not matter.
    masks = {n: (p != 0).float() if p.dim() > 1 else torch.ones_like(p) for n, p in fresh.named_parameters()}
    fresh.requires_grad_(requires_grad=True)
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(fresh(zoo.task.train.inputs), zoo.task.train.observed)
        fresh.zero_grad()
        loss.backward()
        with torch.no_grad():
            for n, p in fresh.named_parameters():
                p -= 0.1 * p.grad * masks[n]
    for n, p in early.named_parameters():
        assert torch.allclose(p, fresh.get_parameter(n), atol=1e-6)
    assert not early.training
    assert (evidence.passes.forward, evidence.passes.backward) == (36, 36)


def test_batch_norms_learn_early_and_stand_still_then(toy, zoo, rng):
    model = resnet.build(resnet.Config(depth=8, width=4), (1, 8, 8), 3, rng)
    evidence = toy.evidence_of(model, zoo.task)
    early = _states.at(evidence, "early", 2)
    norms = [m for m in early.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(m.num_batches_tracked == 2 and not m.training for m in norms)


def test_what_cannot_be_drawn_anew_is_refused(zoo, toy, rng):
    evidence = toy.evidence_of(zoo.models["quantized"], zoo.task)
    with pytest.raises(NotMeasurableError, match="state=early needs weights that can be drawn anew; those in Quant"):
        _states.at(evidence, "early", 2)
    tied = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng)
    torch.nn.utils.parametrizations.weight_norm(tied.linear)
    with pytest.raises(NotMeasurableError, match="drawn anew: the weight of 'linear' is computed anew"):
        _states.at(toy.evidence_of(tied, zoo.task), "untrained", 2)


@pytest.mark.known_answer
def test_untrained_models_of_one_architecture_leak_alike(zoo, toy, rng):
    other = cnn.build(cnn.Config(width=4, hidden=16), (1, 8, 8), 3, torch.Generator().manual_seed(99))
    config = inversion.Config(images=2, iterations=2, state="untrained")
    values = [inversion.measure(toy.evidence_of(m, zoo.task), config, rng) for m in (zoo.models["whole"], other)]
    assert np.array_equal(*(answer.matrix() for answer in values))
