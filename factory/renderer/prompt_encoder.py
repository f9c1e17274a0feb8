"""Encode prompts for a pipeline, once per distinct prompt.

A plan has thousands of images but few distinct prompts, so each (prompt, negative prompt) pair is
encoded once and cached. Each pair is encoded alone, so that its result does not depend on other
prompts. Pipelines with an unknown `encode_prompt` get the texts themselves.
"""

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Results of `encode_prompt`: the names of the arguments that the pipeline's call accepts for them.
_DIALECTS = (
    (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
    (
        "prompt_embeds",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "negative_prompt_attention_mask",
    ),
    ("prompt_embeds", "negative_prompt_embeds"),
    # Without an unconditional part; the pipeline recomputes their other results.
    ("prompt_embeds", "pooled_prompt_embeds"),
    ("prompt_embeds",),
)

_CACHE_BYTES = 2**30


class PromptEncoder:
    """Converts (prompt, negative prompt) pairs into arguments of the pipeline's call."""

    def __init__(self, pipeline: Any, *, cache_bytes: int = _CACHE_BYTES) -> None:
        """Inspect the pipeline's `encode_prompt`; nothing is encoded yet.

        Args:
            pipeline: A text-to-image pipeline.
            cache_bytes: Cache size in bytes; the least recently used pair is evicted first.
        """
        self._pipeline = pipeline
        self._cache_bytes = cache_bytes
        self._used_bytes = 0
        self._cache: OrderedDict[tuple[str, str], tuple[Tensor, ...]] = OrderedDict()
        self._names = _dialect(pipeline)
        # Some default to a negative prompt of "", and reject it beside tensors.
        accepted = inspect.signature(type(pipeline).__call__).parameters
        self._emptied = {"negative_prompt": None} if "negative_prompt" in accepted else {}

    def arguments(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return the text arguments of the pipeline's call for one batch.

        Args:
            pairs: Prompt and negative prompt of each image, in batch order.
        """
        if self._names is None:
            prompts = [prompt for prompt, _ in pairs]
            negatives = [negative for _, negative in pairs]
            return {"prompt": prompts} | ({"negative_prompt": negatives} if any(negatives) else {})
        encoded = [self._encode(pair, self._names) for pair in pairs]
        columns = zip(*encoded, strict=True)
        return self._emptied | {
            name: torch.cat(column) for name, column in zip(self._names, columns, strict=True)
        }

    def _encode(self, pair: tuple[str, str], names: tuple[str, ...]) -> tuple[Tensor, ...]:
        if pair in self._cache:
            self._cache.move_to_end(pair)
            return self._cache[pair]
        tensors = self._run(*pair, names)
        self._cache[pair] = tensors
        self._used_bytes += _size(tensors)
        while self._used_bytes > self._cache_bytes and len(self._cache) > 1:
            self._used_bytes -= _size(self._cache.popitem(last=False)[1])
        return tensors

    def _run(self, prompt: str, negative_prompt: str, names: tuple[str, ...]) -> tuple[Tensor, ...]:
        parameters = inspect.signature(self._pipeline.encode_prompt).parameters
        wanted: dict[str, Any] = {
            "prompt": prompt,
            "prompt_2": None,
            "prompt_3": None,
            "device": self._pipeline._execution_device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": "negative_prompt_embeds" in names,
        }
        # An empty negative prompt is left to the pipeline: some use zeros instead of encoding "".
        if negative_prompt:
            wanted["negative_prompt"] = negative_prompt
        with torch.no_grad():
            out = self._pipeline.encode_prompt(
                **{name: value for name, value in wanted.items() if name in parameters}
            )
        # In the order of the names; an unrequested unconditional part is omitted.
        return tuple(out)[: len(names)]


def _dialect(pipeline: Any) -> tuple[str, ...] | None:
    """Return the names of the results of `encode_prompt`, or None if they are unknown."""
    encode = getattr(pipeline, "encode_prompt", None)
    if encode is None:
        return None
    accepted = inspect.signature(type(pipeline).__call__).parameters
    taken = inspect.signature(encode).parameters
    spoken = {name for name in taken if name in accepted and name.endswith(("_embeds", "_mask"))}
    if "do_classifier_free_guidance" not in taken:
        spoken = {name for name in spoken if "negative" not in name}
    return next((names for names in _DIALECTS if set(names) == spoken), None)


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
