"""What a build was asked to do of a set, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field

from factory.common.errors import UserError
from factory.common.storage import AnyPath
from factory.shards.manifest import FailedImage


@dataclass(frozen=True)
class Part:
    """Part `number` of `count`, from 1: every `count`-th shard of a set."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read `i/n`.

        Raises:
            UserError: it is something else, or `i` is not one of 1 to `n`.
        """
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise UserError(f"--part {text}: write i/n, e.g. 3/16 for the third of 16 parts")
        part = cls(int(number), int(count))
        if not 1 <= part.number <= part.count:
            raise UserError(f"--part {text}: parts are numbered 1/{count} to {count}/{count}")
        return part


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        out: The set's directory.
        configs: Names of the configs that were made, members before combinations.
        drawn: Images that were drawn or copied, by all ranks of this launch.
        kept: Images that were there before, or were drawn by another launch.
        redrawn: How many of the drawn ones stood in shards that were damaged.
        failed: By config, the images that no attempt could draw.
        seconds: From the first shard to the finished card.
        is_complete: Whether the set is whole; False where other parts are still missing.
    """

    out: AnyPath
    configs: tuple[str, ...]
    drawn: int
    kept: int
    seconds: float
    redrawn: int = 0
    failed: dict[str, tuple[FailedImage, ...]] = field(default_factory=dict)
    is_complete: bool = True

    @property
    def images_per_s(self) -> float:
        """Speed of this build, all ranks together."""
        return self.drawn / self.seconds if self.seconds else 0.0

    @property
    def num_failed(self) -> int:
        """How many images could not be drawn."""
        return sum(map(len, self.failed.values()))
