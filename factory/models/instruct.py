"""Instruct models of transformers, asked for texts; only safetensors weights, never their code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from factory.common.errors import UserError
from factory.models.clip import only_data, reading, revision_of, split_revision
from factory.models.quiet import quiet_transformers


@dataclass(frozen=True)
class InstructModel:
    """A loaded model.

    Attributes:
        name: Name as given.
        revision: Hub commit, or a hash of a directory's files.
    """

    name: str
    revision: str
    _pipeline: Any

    def reply(self, request: str, *, example: tuple[str, str], most_tokens: int, seed: int) -> str:
        """Return a sampled reply to one request; the same seed gives the same reply.

        Args:
            request: The request.
            example: Another request and its reply, as if they had come before.
            most_tokens: Limit of the reply's length.
            seed: Seed of the sampled tokens.
        """
        import torch

        turns = zip(("user", "assistant", "user"), (*example, request), strict=True)
        messages = [{"role": role, "content": text} for role, text in turns]
        with torch.random.fork_rng(), quiet_transformers():
            torch.manual_seed(seed)
            found = self._pipeline(
                messages,
                max_new_tokens=most_tokens,
                do_sample=True,
                temperature=1.0,
                top_p=0.95,
                return_full_text=False,
            )
        return str(found[0]["generated_text"])


def load_instruct(name: str, *, option: str, device: str) -> InstructModel:
    """Load a model.

    Args:
        name: Directory, or Hub id with an optional `@REVISION`.
        option: Option to name in messages.
        device: `cpu`, `cuda`, ...

    Raises:
        UserError: It cannot be loaded, or its tokenizer has no chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    source, revision = split_revision(name)
    options = only_data(revision)
    with reading(name, option=option):
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(
            source, use_safetensors=True, dtype="auto", **options
        )
    if tokenizer.chat_template is None:
        raise UserError(
            f"{option} {name}: its tokenizer has no chat template; choose an instruct model"
        )
    return InstructModel(
        name=name,
        revision=revision_of(source, model.config),
        _pipeline=pipeline("text-generation", model=model, tokenizer=tokenizer, device=device),
    )
