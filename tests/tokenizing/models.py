"""Small models as they come in a folder: a tokenizer trained in a moment, its configuration, a chat template."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Of the model that recordings of vLLM 0.32 were made with."""
_WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "gateway",
    "model",
    "server",
    "token",
    "cache",
    "prefix",
    "request",
    "router",
    "queue",
    "batch",
    "stream",
    "metric",
    "alpha",
    "beta",
    "gamma",
    "delta",
    "hello",
    "world",
    "what",
    "is",
    "how",
    "many",
    "please",
    "write",
    "code",
    "in",
    "python",
    "for",
    "me",
    "today",
]


def corpus() -> list[str]:
    """Return the texts that the recorded model's tokenizer was trained with."""
    drawn = random.Random(0)
    syllables = [c + v for c in "bcdfghjklmnpqrstvwz" for v in ("a", "e", "i", "o", "u", "an", "er")]
    made = ["".join(drawn.choice(syllables) for _ in range(drawn.randint(2, 4))) for _ in range(600)]
    words = _WORDS + made
    return [" ".join(drawn.choice(words) for _ in range(20)) for _ in range(2000)]


def byte_level() -> Tokenizer:
    """Return the recorded model's tokenizer: bytes, as GPT-2, Llama 3 and Qwen have."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def metaspace() -> Tokenizer:
    """Return one that marks the text's first word as if a blank stood before it, as Mistral's and Gemma's do."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|pad|>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(
        corpus()[:300], trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False)
    )
    return tokenizer


def with_neighbours() -> Tokenizer:
    """Return one with added tokens of every kind: some swallow blanks, some are blanks, some are found after normalizing."""
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_special_tokens(
        [
            AddedToken("<|left|>", lstrip=True),
            AddedToken("<|right|>", rstrip=True),
            AddedToken("<|end|><|user|>"),
        ]
    )
    tokenizer.add_tokens([AddedToken("  ", normalized=False), AddedToken("Hello", normalized=True)])
    return tokenizer


def words() -> Tokenizer:
    """Return one of whole words, as BERT has."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<|pad|>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(corpus()[:300], trainer)
    return tokenizer


def single_words() -> Tokenizer:
    """Return one with a token that looks at its neighbours."""
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("fox", single_word=True, normalized=False)])
    return tokenizer


def folder(path: Path, template: str | None = TEMPLATE, **config: Any) -> Path:
    """Write the recorded model's tokenizer and its configuration; return the folder."""
    path.mkdir(parents=True, exist_ok=True)
    byte_level().save(str(path / "tokenizer.json"))
    written = {
        "bos_token": "<|bos|>",
        "eos_token": {"content": "<|eos|>"},
        "chat_template": template,
        **config,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(written))
    return path
