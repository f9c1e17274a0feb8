"""A tiny instruct model with random weights on disk; it writes random words and line breaks."""

from pathlib import Path

import torch

_WORDS = ("in", "at", "near", "under", "by", "deep", "snow", "rain", "fog", "dusk", "noon", "cat")
TEMPLATE = "{% for one in messages %}{{ one['content'] }} {% endfor %}"


def save_instruct(folder: Path, *, template: str | None = TEMPLATE) -> Path:
    """Save a `LlamaForCausalLM` and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "</s>", "\n", *_WORDS]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    saved = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )
    saved.chat_template = template
    saved.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=1,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # A flat distribution, except that a line ends after some words.
        model.lm_head.weight.zero_()
    model.save_pretrained(folder)
    return folder
