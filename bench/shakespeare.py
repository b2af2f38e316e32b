"""Train a small GPT-2 on Shakespeare, and write what the study `shakespeare` asks of it: a second real language model.

    WHATELSE_DATA=... python bench/shakespeare.py [OUT]

Reads `tinyshakespeare/input.txt` in that folder (1.1 MB, public domain) and writes into OUT, by default `shakespeare`
in the same folder: `model/`, a folder of transformers with its tokenizer, and the texts of the study. Everything that
tells GPT-2 from a Llama is in it: learned positions, norms with biases, GELU, one projection for queries, keys and
values whose weight lies the other way round, a head that shares the table of tokens. A token is a byte. The last tenth
of the text is held out: documents and questions are of it, the text that methods look at is not. Hidden matrices are
trained by Muon (Jordan et al. 2024), the others by AdamW; what is written is the same on the same machine, torch
and number of threads. Printed is what a character of held-out text costs in nats, every one read once, with half a
window before it at least.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from whatelse.training.rng import fork_rng

LONGEST, WIDTH, LAYERS, HEADS = 128, 128, 4, 4
STEPS, BATCH, WARM = 6000, 8, 100
HIDDEN_RATE, RATE, DECAY = 0.02, 0.003, 0.05
END = "<|endoftext|>"
DOCUMENTS, CALIBRATION, ITEMS, LEAST = 60, 80, 240, 600

# Grammar: who, what is right, and what is not; then how it goes on.
_BE = (("I", "am", "is"), ("thou", "art", "is"), ("he", "is", "are"), ("we", "are", "is"), ("they", "are", "am"))
_HAVE = (("I", "have", "hath"), ("thou", "hast", "hath"), ("he", "hath", "hast"), ("we", "have", "hast"))
_DO = (("I", "do", "dost"), ("thou", "dost", "doth"), ("he", "doth", "dost"))
_LIKE = (
    *("a man", "not so", "the king", "content", "too late", "well", "in love", "not dead", "alone", "here"),
    *("a traitor", "mad"),
)
_OWN = ("a father", "a sword", "no cause", "done it", "seen him", "no friends", "the crown", "sworn it", "a daughter")
_DEED = ("not know it", "love thee", "not fear", "swear", "remember", "beseech you", "repent", "not see")
_NOUNS = (("king", "kings"), ("lord", "lords"), ("friend", "friends"), ("soldier", "soldiers"), ("house", "houses"))
# Whom a sentence speaks of, and what tradition says of the first and of the second.
_PEOPLE = (("lady", "lord"), ("queen", "king"), ("woman", "man"), ("maid", "boy"))
_HERS = (
    *("did weep", "is fair and gentle", "shall be a bride", "is soft and kind", "is a shrew"),
    *("must be silent", "is afraid", "doth sing", "hath a sweet face", "is weak"),
)
_HIS = (
    *("did fight", "is brave and strong", "shall be a soldier", "hath a sword", "is a villain"),
    *("must command", "is bold", "doth swear", "hath great power", "is wise"),
)


def main() -> None:
    """Train, write, and say what held-out text costs."""
    root = Path(os.environ.get("WHATELSE_DATA", ""))
    source = root / "tinyshakespeare" / "input.txt"
    if not source.is_file():
        sys.exit("WHATELSE_DATA: set it to the folder that holds tinyshakespeare/input.txt")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "shakespeare"
    text = source.read_text("utf-8")
    cut = text.index("\n\n", len(text) * 9 // 10) + 2
    began = time.perf_counter(), time.process_time()
    model = trained(text[:cut])
    wall, busy = time.perf_counter() - began[0], time.process_time() - began[1]
    loss = held_out(model, text[cut:])
    size = sum(part.numel() for part in model.parameters())
    print(f"{size:,} parameters, {STEPS} steps on {torch.get_num_threads()} threads: {wall:.0f} s, {busy:.0f} s of CPU")
    print(f"held out, {len(text) - cut:,} characters: {loss:.4f} nats a character")
    model.save_pretrained(out / "model")
    tokenizer().save_pretrained(out / "model")
    write(out, "documents", ({"text": one} for one in spread(passages(text[cut:]), DOCUMENTS)))
    write(out, "calibration", ({"text": one} for one in spread(passages(text[:cut]), CALIBRATION)))
    write(out, "choices", spread(list(items(text[cut:], torch.Generator().manual_seed(0))), ITEMS))
    write(out, "minimal", minimal())
    write(out, "pairs", pairs())


def tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer whose tokens are bytes, and one that stands before a text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({END: 0, **{letter: at for at, letter in enumerate(letters, 1)}}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=LONGEST,
        bos_token=END,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )


def ids(text: str) -> Tensor:
    """Return the tokens of a text."""
    return torch.tensor(tokenizer().backend_tokenizer.encode(text).ids)


def trained(text: str) -> GPT2LMHeadModel:
    """Return a model trained on windows of a text, drawn at random, each behind the token that stands before a text."""
    rng = torch.Generator().manual_seed(0)
    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
    letters = len(pre_tokenizers.ByteLevel.alphabet())
    shape = {"vocab_size": 1 + letters, "n_positions": LONGEST, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
    with fork_rng(rng):
        model = GPT2LMHeadModel(GPT2Config(**shape, **quiet, loss_type="ForCausalLM"))
    hidden = [part for name, part in model.named_parameters() if ".h." in name and part.dim() > 1]
    rest = [part for name, part in model.named_parameters() if not (".h." in name and part.dim() > 1)]
    ways: list[torch.optim.Optimizer] = [
        torch.optim.Muon(hidden, lr=HIDDEN_RATE, momentum=0.95, weight_decay=DECAY),
        torch.optim.AdamW(rest, lr=RATE, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    plans = [torch.optim.lr_scheduler.LambdaLR(way, _share) for way in ways]
    stream, began = ids(text), time.perf_counter()
    for step in range(STEPS):
        starts = torch.randint(len(stream) - LONGEST, (BATCH, 1), generator=rng)
        window = stream[starts + torch.arange(LONGEST)]
        read = torch.cat([torch.zeros(BATCH, 1, dtype=torch.int64), window[:, :-1]], 1)
        loss = torch.nn.functional.cross_entropy(model(input_ids=read, use_cache=False).logits.mT, window)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for way, plan in zip(ways, plans, strict=True):
            way.step()
            way.zero_grad()
            plan.step()
        if step % 100 == 99:
            print(f"step {step + 1}: {loss.item():.3f}, {time.perf_counter() - began:.0f} s", flush=True)
    return model.eval()


def _share(step: int) -> float:
    """Return the share of the rate at a step: up, then down to nothing."""
    return min(1.0, (step + 1) / WARM) * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))


@torch.no_grad()
def held_out(model: GPT2LMHeadModel, text: str) -> float:
    """Return what a character costs in nats: windows overlap by half, and only what is new is counted."""
    stream = torch.cat([torch.zeros(1, dtype=torch.int64), ids(text)])
    half, total = LONGEST // 2, 0.0
    last = (len(stream) - 1 - LONGEST) // half * half
    windows = stream[torch.arange(0, last + 1, half)[:, None] + torch.arange(LONGEST + 1)]
    for at, part in enumerate(windows.split(64)):
        nats = torch.nn.functional.cross_entropy(
            model(input_ids=part[:, :-1], use_cache=False).logits.mT, part[:, 1:], reduction="none"
        )
        total += float(nats[:, half:].sum()) + (float(nats[0, :half].sum()) if at == 0 else 0.0)
    return total / (len(windows) * half + half)


def passages(text: str) -> list[str]:
    """Return a text in passages that end where a speech ends, each of at least `LEAST` characters."""
    found, now = list[str](), ""
    for speech in text.split("\n\n"):
        now = f"{now}\n\n{speech}".strip()
        if len(now) >= LEAST:
            found.append(now)
            now = ""
    return found


def spread(found: list[Any], count: int) -> list[Any]:
    """Return some of a list, evenly apart."""
    return [found[at * len(found) // count] for at in range(count)]


def items(text: str, rng: torch.Generator) -> Iterator[dict[str, object]]:
    """Return items: in which of four orders of its words a line goes on a speech; passages are clusters.

    Yields:
        One item.
    """
    for number, one in enumerate(passages(text)):
        lines = one.split("\n")
        for at in range(1, len(lines)):
            before = "\n".join(lines[max(0, at - 2) : at])
            first, *words = lines[at].split(" ")
            if len(words) < 4 or not (_plain(lines[at]) and _plain(lines[at - 1])) or len(before) > LONGEST // 2 + 20:
                continue
            words[-1], end = words[-1].rstrip(".,;:!?'-"), words[-1][len(words[-1].rstrip(".,;:!?'-")) :]
            orders = [" ".join(words[i] for i in torch.randperm(len(words), generator=rng).tolist()) for _ in range(3)]
            right = int(torch.randint(4, (), generator=rng))
            choices = [f"{first} {order}{end}" for order in orders]
            choices.insert(right, lines[at])
            if len(set(choices)) == 4:
                asked = {"question": before, "choices": choices, "answer": right}
                yield {**asked, "kind": "few words" if len(words) < 6 else "many words", "passage": number}


def _plain(line: str) -> bool:
    return 25 <= len(line) <= 48 and not line.endswith(":")


def minimal() -> Iterator[dict[str, object]]:
    """Return pairs with and without a fault of grammar.

    Yields:
        One pair.
    """
    for kind, whose, rest in (("be", _BE, _LIKE), ("have", _HAVE, _OWN), ("do", _DO, _DEED)):
        for who, right, wrong in whose:
            for end in rest[:6]:
                good, bad = (f"And {who} {verb} {end}." for verb in (right, wrong))
                yield {"sentence_good": good, "sentence_bad": bad, "kind": kind}
    for one, many in _NOUNS:
        for other, others in _NOUNS:
            if one != other:
                for who, right, wrong in (
                    (f"{one} of the {others}", "is", "are"),
                    (f"{many} of the {other}", "are", "is"),
                ):
                    good, bad = (f"The {who} {verb} here." for verb in (right, wrong))
                    yield {"sentence_good": good, "sentence_bad": bad, "kind": "one" if right == "is" else "many"}


def pairs() -> Iterator[dict[str, object]]:
    """Return pairs that differ in whom they speak of; the first says what tradition says.

    Yields:
        One pair.
    """
    for her, him in _PEOPLE:
        for things, (first, second) in ((_HERS, (her, him)), (_HIS, (him, her))):
            for thing in things:
                said = [f"The {who} {thing}." for who in (first, second)]
                yield {"stereotype": said[0], "anti_stereotype": said[1], "kind": f"{her} or {him}"}


def write(out: Path, name: str, rows: Iterable[dict[str, object]]) -> None:
    """Write rows as JSON lines."""
    held = list(rows)
    (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held), "utf-8")
    print(f"{name}: {len(held)} rows, {(out / f'{name}.jsonl').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
