"""Build the tokenizer and the text encoder, both with transformers' CLIP classes.

The vocabulary consists of the run's own captions and every byte symbol, so that any prompt can be
read: unknown words are split into pieces.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from train.generator.config import TextConfig

WORDS_FILE = "words.txt"
START, END = "<|startoftext|>", "<|endoftext|>"
SUFFIX = "</w>"
EMBEDDING_STD = 1.0
POSITION_STD = 0.2


def words_of(captions: Iterable[str], *, at_least: int = 1) -> list[str]:
    """Return words with at least `at_least` captions, lower case, most frequent first."""
    counts = Counter(word for text in captions for word in re.findall(r"[\w'-]+", text.lower()))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, count in ordered if count >= at_least]


def train_tokenizer(captions: Iterable[str], config: TextConfig) -> Any:
    """Train a byte-pair CLIPTokenizer on captions."""
    from tokenizers import Tokenizer, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import CLIPTokenizer

    blank = CLIPTokenizer()
    model = Tokenizer(BPE(end_of_word_suffix=SUFFIX, unk_token=END))
    model.normalizer = blank.backend_tokenizer.normalizer
    model.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary, end_of_word_suffix=SUFFIX, show_progress=False
    )
    model.train_from_iterator(captions, trainer)
    learned = _merges(model)
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [START, END, *symbols, *(s + SUFFIX for s in symbols)]
    tokens += [a + b for a, b in learned]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=learned,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=config.max_length,
    )


def _merges(model: Any) -> list[tuple[str, str]]:
    import json

    merges = json.loads(model.to_str())["model"]["merges"]
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
    return [(first, second) for first, second in pairs]


def build_text_encoder(tokenizer: Any, config: TextConfig) -> Any:
    """Build a CLIPTextModel with token embeddings of std 1.

    With CLIP's own std of 0.02, the states of class words become similar during joint training, and
    the denoiser ignores them.
    """
    from torch import nn
    from transformers import CLIPTextConfig, CLIPTextModel

    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.max_length,
            projection_dim=config.width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    embeddings = model.get_input_embeddings()
    nn.init.normal_(embeddings.weight, std=EMBEDDING_STD)
    for name, weight in model.named_parameters():
        if name.endswith("position_embedding.weight"):
            nn.init.normal_(weight, std=POSITION_STD)
    return model


class TokenCache:
    """Converts captions to padded token ids, each distinct caption once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, Any] = {}

    def __call__(self, captions: Sequence[str]) -> Any:
        """Return token ids, int64 (N, max_length)."""
        import torch

        for caption in captions:
            if caption not in self._known:
                encoded = self._tokenizer(
                    caption,
                    padding="max_length",
                    truncation=True,
                    max_length=self._tokenizer.model_max_length,
                )
                self._known[caption] = torch.tensor(encoded["input_ids"])
        return torch.stack([self._known[caption] for caption in captions])
