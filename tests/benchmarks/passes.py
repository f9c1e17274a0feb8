"""The forward passes of a pipeline's call, without the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Passes:
    """Inputs of a network's last pass and of the decoder's, of one batch.

    Attributes:
        network: Called in every step.
        arguments: Of its last pass.
        count: Number of passes of a call.
        decode: Method of the decoder.
        latents: Arguments of the decoder.
    """

    network: Any
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    count: int
    decode: Callable[..., Any]
    latents: tuple[tuple[Any, ...], dict[str, Any]]

    @classmethod
    def of(cls, pipeline: Any, call: Callable[[], object]) -> Passes:
        """Record the inputs while `call` generates one batch with the pipeline."""
        from factory.renderer.guidance import network_of

        network, decode = network_of(pipeline), pipeline.vae.decode
        seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        decoded: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def recorded(*args: Any, **kwargs: Any) -> Any:
            decoded.append((args, kwargs))
            return decode(*args, **kwargs)

        handle = network.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
        )
        pipeline.vae.decode = recorded
        try:
            call()
        finally:
            handle.remove()
            del pipeline.vae.decode
        return cls(network, seen[-1], len(seen), decode, decoded[-1])

    def run(self) -> None:
        """Make all passes of one batch."""
        with torch.inference_mode():
            for _ in range(self.count):
                self.once()
            self.decode_once()

    def once(self) -> None:
        """Make one pass of the network."""
        args, kwargs = self.arguments
        self.network(*args, **kwargs)

    def decode_once(self) -> None:
        """Decode one batch."""
        args, kwargs = self.latents
        self.decode(*args, **kwargs)
