"""What a configuration of transformers builds, and what of a model differs from it.

A configuration is the description of a language model: whatever it does not build, it has no place for. Widths and
heads that all blocks share are written into it; layers stored in few bits and chains of two become floats again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from whatelse.errors import ArtifactError, MissingExtraError, in_short
from whatelse.layers.compressed import CompressedLayer, linear
from whatelse.modules.lent import quietly

_MATRIX = 2  # dimensions
# How configurations call the width between a block's two projections, and how many times the state's it is unsaid.
_INNER, _WIDER = ("intermediate_size", "n_inner", "ffn_dim"), 4


def reference(config: Any) -> nn.Module:  # noqa: ANN401 - of transformers
    """Return the model that a configuration builds, its tensors without numbers.

    Args:
        config: Of transformers.

    Raises:
        MissingExtraError: transformers is not installed.
        ArtifactError: It builds none.
    """
    transformers = library()
    try:
        with quietly(), torch.device("meta"):
            made: nn.Module = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever a configuration of a stranger raises
        raise ArtifactError(f"its configuration makes no language model: {in_short(error)}") from error
    return made


def differing(lm: nn.Module, like: nn.Module) -> list[str]:
    """Return the topmost parts that are not what a configuration builds: of another kind, or of another size.

    Args:
        lm: A model of transformers, changed by methods.
        like: What `reference` returned.
    """
    known = dict(like.named_modules())
    found: list[str] = []
    for name, part in lm.named_modules():
        if any(name.startswith(f"{other}.") for other in found):
            continue
        twin = known.get(name)
        sizes = {n: p.shape for n, p in part.named_parameters(recurse=False)}
        alike = twin is not None and type(twin) is type(part)
        if twin is None or not alike or sizes != {n: p.shape for n, p in twin.named_parameters(recurse=False)}:
            found.append(name)
    return found


def refit(lm: nn.Module) -> None:
    """Give a configuration the widths and heads of its model, where all blocks have the same; in place.

    Args:
        lm: A model of transformers, changed by methods.
    """
    config: Any = lm.config
    known = {name: ends for name, part in reference(config).named_modules() if (ends := _ends(part))}
    pairs = [(known[name], ends) for name, part in lm.named_modules() if name in known and (ends := _ends(part))]
    changed: dict[int, set[int]] = {}
    for old, new in pairs:
        for was, now in zip(old, new, strict=True):
            changed.setdefault(was, set()).add(now)
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    few = int(getattr(config, "num_key_value_heads", None) or heads)
    inner = next((name for name in _INNER if name in config.to_dict()), _INNER[0])
    for told, was, step in (
        (inner, int(getattr(config, inner, None) or _WIDER * config.hidden_size), 1),
        ("num_key_value_heads", few * size, size),
        ("num_attention_heads", heads * size, size),
    ):
        widths = changed.get(was, {was}) - ({was} if was == config.hidden_size else set())
        if len(widths) == 1 and widths != {was}:
            setattr(config, told, widths.pop() // step)
            if told != inner:
                config.head_dim = size


def _ends(part: nn.Module) -> tuple[int, int] | None:
    """Return how many numbers a linear layer takes and gives, whichever way its weight lies; None of any other part."""
    if type(part) is nn.Linear:
        return part.in_features, part.out_features
    if isinstance(part, CompressedLayer):
        shape: Sequence[int] = next((weight.shape for weight in part.weights()), ())
    elif isinstance(part, turned()):
        weight: Any = part.weight
        shape = weight.shape[::-1]
    else:
        return None
    return (int(shape[1]), int(shape[0])) if len(shape) == _MATRIX else None


def coded(name: str, part: nn.Module, twin: nn.Module | None) -> nn.Module | None:
    """Return a layer as codes with scales, where it is stored in few bits; None where it is not.

    Args:
        name: Of the part.
        part: What stands in the place of the twin.
        twin: What a configuration builds there; None where it builds nothing.

    Raises:
        ArtifactError: It has codes that a linear layer of transformers cannot stand for, or none that are alone.
    """
    if not isinstance(part, CompressedLayer):
        return None
    own = part.coded()
    if own is None:
        raise ArtifactError(no_place(name, part, "the format compressed-tensors (pack-quantized)"))
    if type(twin) is not nn.Linear:
        raise ArtifactError(no_linear(name, twin))
    return own if _ends(own) == _ends(twin) else None


def dense(part: nn.Module, twin: nn.Module | None) -> nn.Module | None:
    """Return the layer of a twin's kind that computes the same with floats; None where there is none.

    Args:
        part: What stands in the place of the twin.
        twin: What a configuration builds there; None where it builds nothing.
    """
    chain = list(part) if isinstance(part, nn.Sequential) else [part]
    floats = [one.plain() if isinstance(one, CompressedLayer) else one for one in chain]
    layers = [one for one in floats if isinstance(one, nn.Linear)]
    if len(layers) < len(floats) or not layers or any(one.bias is not None for one in layers[:-1]):
        return None
    weight: Tensor = layers[0].weight
    for one in layers[1:]:
        weight = one.weight @ weight
    made = linear(weight, layers[-1].bias)
    kind = turned()
    if not isinstance(twin, kind):
        return made
    back: nn.Module = kind(*weight.shape)
    back.weight, back.bias = nn.Parameter(weight.mT.contiguous(), requires_grad=False), made.bias
    return back


def turned() -> Any:  # noqa: ANN401 - a class of transformers
    """Return the kind of linear layer whose weight lies the other way round, ``(in, out)``."""
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415 - an extra

    return Conv1D


def no_place(name: str, part: nn.Module, what: str = "a configuration of transformers") -> str:
    """Return what to say of a part that has no place.

    Args:
        name: Of the part.
        part: The part.
        what: What has no place for it.
    """
    kind = f"a {type(part).__name__}"
    if isinstance(part, CompressedLayer):
        kind += " that computes with rounded activations" if part.plain() is None else ""
    elif ends := _ends(part):
        kind += f" of {ends[0]} to {ends[1]}"
    return f"{name} is {kind}, for which {what} has no place"


def no_linear(name: str, part: nn.Module | None) -> str:
    """Return what to say of codes that a format keeps of linear layers alone.

    Args:
        name: Of the part.
        part: What a configuration builds there; None where it builds nothing.
    """
    kind = "nothing" if part is None else f"a {type(part).__name__}"
    return f"{name} is {kind} in transformers, and compressed-tensors packs its linear layers alone"


def library() -> Any:  # noqa: ANN401 - transformers
    """Return transformers.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        with quietly():
            import transformers  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtraError("a language model needs transformers: pip install 'whatelse[transformers]'") from error
    return transformers
