"""Text as a language model reads it: windows of token ids, drawn at random, each with the tokens that follow.

A window is the token that stands before a text, then consecutive tokens of all texts one after the other. Its labels
are the tokens themselves: what follows each place. Which windows are drawn is the chance in a method that looks at
data.

Source:
    Frantar et al., GPTQ, ICLR 2023, arXiv:2210.17323: 128 random windows of 2,048 tokens.
"""

from __future__ import annotations

import torch
from torch import nn

from whatelse.errors import TaskError
from whatelse.modules.decoder import Decoder
from whatelse.modules.lent import quietly
from whatelse.tasks.task import Split, Task

_LONGEST, _LEAST = 2048, 2  # tokens of a window, where nobody says: as in the paper; and of all texts


def read(model: nn.Module, task: Task, rng: torch.Generator) -> Task:
    """Return a task as a model reads it: of passages, for a language model, windows of the text to calibrate on.

    Any other task is returned as it is. All splits hold the same windows: what is asked of the model is in none.

    Args:
        model: Any module.
        task: Any task; of passages one that has such text.
        rng: Decides which windows are drawn.

    Raises:
        TaskError: There is no text to calibrate on, or too little.
    """
    if task.language is None or not isinstance(model, Decoder):
        return task
    stream, start = _stream(model, task)
    told = task.language.calibration
    length = min(told.tokens or task.language.context or _LONGEST, model.longest or _LONGEST, len(stream))
    starts = torch.randperm(len(stream) - length + 1, generator=rng)[: told.windows].sort().values
    followed = stream[starts[:, None] + torch.arange(length)]
    before = torch.full((len(starts), 1), start)
    windows = Split(torch.cat([before, followed[:, :-1]], 1), followed, followed)
    vocabulary = int(model.lm.config.get_text_config().vocab_size)
    splits = dict.fromkeys(("train", "calibration", "select", "test"), windows)
    return Task(task.name, vocabulary, None, splits, vocabulary=vocabulary)


def _stream(model: Decoder, task: Task) -> tuple[torch.Tensor, int]:
    """Return the tokens of all texts one after the other, and the token that stands before a text.

    Raises:
        TaskError: There are too few.
    """
    assert task.language is not None
    texts, tokenizer = task.language.calibration.texts, model.words.tokenizer
    if not texts:
        raise TaskError(f"task {task.name}: there is no text to calibrate on; name a file: language(calibration='F')")
    with quietly():  # of texts that are longer than the model takes at once
        ids = [token for text in texts for token in tokenizer.encode(text)]
    if len(ids) < _LEAST:
        raise TaskError(f"task {task.name}: the text to calibrate on has {len(ids)} tokens; give more of it")
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return torch.tensor(ids), next((int(one) for one in known if one is not None), ids[0])
