"""Tiny CLIP, SigLIP and safety models with random weights on disk; 16 px images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

PIXELS = 16
_WORDS = [chr(code) for code in range(32, 127)]


def _save_tokenizer(folder: Path) -> None:
    """Save a tokenizer of single letters, with the special tokens that pooling needs."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate([*_WORDS, "<s>", "</s>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    end = len(vocabulary) - 1
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", end - 1), ("</s>", end)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<s>",
        model_max_length=64,
    ).save_pretrained(folder)


def _text() -> dict[str, Any]:
    size = len(_WORDS) + 2
    return {
        "vocab_size": size,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "bos_token_id": size - 2,
        "eos_token_id": size - 1,
        "pad_token_id": size - 1,
    }


def _vision() -> dict[str, Any]:
    return {
        "image_size": PIXELS,
        "patch_size": 8,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }


def _spread(model: Any) -> None:
    """Enlarge weights, so that different images and texts get different vectors."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.5)
            elif name == "logit_scale":
                parameter.fill_(3.0)


def save_clip(folder: Path) -> Path:
    """Save a `CLIPModel`."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    model = CLIPModel(CLIPConfig(text_config=_text(), vision_config=_vision(), projection_dim=16))
    _spread(model)
    model.eval().save_pretrained(folder)
    _save_tokenizer(folder)
    size = {"height": PIXELS, "width": PIXELS}
    CLIPImageProcessor(size=size, crop_size=size).save_pretrained(folder)
    return folder


def save_siglip(folder: Path) -> Path:
    """Save a `SiglipModel`."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    model = SiglipModel(SiglipConfig(text_config=_text(), vision_config=_vision()))
    _spread(model)
    model.eval().save_pretrained(folder)
    _save_tokenizer(folder)
    SiglipImageProcessor(size={"height": PIXELS, "width": PIXELS}).save_pretrained(folder)
    return folder


def save_safety_checker(folder: Path, *, threshold: float) -> Path:
    """Save Stable Diffusion's safety checker; images close to a concept are flagged."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    torch.manual_seed(0)
    model = StableDiffusionSafetyChecker(
        CLIPConfig(text_config=_text(), vision_config=_vision(), projection_dim=16)
    )
    _spread(model)
    with torch.no_grad():
        model.concept_embeds_weights.fill_(threshold)
        model.special_care_embeds_weights.fill_(2.0)
    model.save_pretrained(folder)
    size = {"height": PIXELS, "width": PIXELS}
    CLIPImageProcessor(size=size, crop_size=size).save_pretrained(folder)
    return folder


def save_image_classifier(folder: Path, labels: list[str]) -> Path:
    """Save a `ViTForImageClassification`."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    model = ViTForImageClassification(
        ViTConfig(
            **_vision(),
            id2label=dict(enumerate(labels)),
            label2id={label: place for place, label in enumerate(labels)},
        )
    )
    _spread(model)
    model.eval().save_pretrained(folder)
    ViTImageProcessor(size={"height": PIXELS, "width": PIXELS}).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"]["0"] == labels[0]
    return folder
