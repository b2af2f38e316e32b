#!/usr/bin/env bash
# transformers makes up a tokenizer without words where a folder has none.
#
# Behavior: AutoTokenizer.from_pretrained on a folder that holds a config.json (model_type bert) and no file of a
# tokenizer returns one that knows its special tokens alone: every word of every text becomes the unknown one. Nothing is
# raised and nothing warns.
# Version: transformers 5.24.0, tokenizers 0.23.3.
# Source: seen in the output below; what a folder without these files gives is not documented.
# Why it matters: a model whose tokenizer was forgotten beside it answers alike to every text of a length, and whoever
# judges it by that judges the folder and not the model.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet transformers==5.24.0 tokenizers==0.23.3
mkdir "$place/model"
echo '{"model_type": "bert", "architectures": ["BertForSequenceClassification"], "vocab_size": 30522}' > "$place/model/config.json"
HF_HUB_OFFLINE=1 "$place/venv/bin/python" - "$place/model" <<'PY'
import sys
import warnings

import tokenizers
import transformers

print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    made = transformers.AutoTokenizer.from_pretrained(sys.argv[1], local_files_only=True)
ids = made("a good film, and a bad one")["input_ids"]
words = made.convert_ids_to_tokens(ids)
print(type(made).__name__, "of", len(made), "tokens:", " ".join(words), "| warnings:", len(heard))
sys.exit(not (set(words) <= set(made.all_special_tokens) and made.unk_token in words))
PY
