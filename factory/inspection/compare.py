"""Compare a stored image with the same row regenerated."""

from dataclasses import dataclass

from factory.common.errors import Failure
from factory.common.image_arrays import ImageArray, decode
from factory.data import columns
from factory.planner.plan import ImageSpec
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.flaws import NOT_FINITE
from factory.shards.parquet import Row, encode_image


@dataclass(frozen=True)
class Regenerated:
    """A stored image and its regenerated version.

    Attributes:
        spec: The row.
        stored: The stored image.
        generated: The regenerated image, encoded as it would be stored.
        same_bytes: Whether the encoded files are identical.
        differing: Number of differing pixels.
        max_difference: Maximum over all channels and pixels, 0 to 255.
        mean_difference: Mean over all channels and pixels.
    """

    spec: ImageSpec
    stored: ImageArray
    generated: ImageArray
    same_bytes: bool
    differing: int
    max_difference: int
    mean_difference: float

    @property
    def pixels(self) -> int:
        """Number of pixels of the image."""
        return int(self.generated.shape[0] * self.generated.shape[1])

    def describe(self) -> str:
        """Summarize how the two images differ."""
        if self.same_bytes:
            return "identical bytes"
        if not self.max_difference:
            return "identical pixels, different bytes"
        return (
            f"max difference {self.max_difference} of 255, mean {self.mean_difference:.4g}, "
            f"{self.differing} of {self.pixels} pixels differ"
        )


def compared(row: Row, image: ImageArray | None, recipe: ResolvedRecipe) -> Regenerated:
    """Compare a stored row with its regenerated image.

    Raises:
        Failure: One of the images is missing, or their sizes differ.
    """
    import numpy as np

    spec = spec_of(row, recipe)
    if image is None:
        raise Failure(f"image {spec.index} of {recipe.name}: regenerated, but {NOT_FINITE}")
    data = encode_image(image, recipe.output)
    stored, generated = decode(row[columns.IMAGE]["bytes"]), decode(data)
    if stored.shape != generated.shape:
        raise Failure(
            f"image {spec.index} of {recipe.name} is {stored.shape[1]} x {stored.shape[0]} pixels, "
            f"the regenerated image is {generated.shape[1]} x {generated.shape[0]}"
        )
    difference = np.abs(stored.astype(np.int16) - generated.astype(np.int16))
    return Regenerated(
        spec=spec,
        stored=stored,
        generated=generated,
        same_bytes=data == row[columns.IMAGE]["bytes"],
        differing=int((difference.max(axis=2) > 0).sum()),
        max_difference=int(difference.max()),
        mean_difference=float(difference.mean()),
    )


def spec_of(row: Row, recipe: ResolvedRecipe) -> ImageSpec:
    """Return the spec to regenerate a stored row."""
    return ImageSpec(
        index=row[columns.INDEX],
        label=row[columns.LABEL],
        class_name=row[columns.CLASS],
        recipe=row[columns.RECIPE],
        prompt=row[columns.PROMPT],
        negative_prompt=row[columns.NEGATIVE_PROMPT],
        variables={column.name: row.get(column.name) for column in recipe.columns},
        guidance_scale=row[columns.GUIDANCE_SCALE],
        num_inference_steps=row[columns.NUM_INFERENCE_STEPS],
        seed=row[columns.SEED],
        attempt=row[columns.ATTEMPT],
    )
