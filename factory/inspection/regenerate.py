"""Regenerate stored rows and compare them with the stored images.

An image depends slightly on its batch, so a row is generated with the other rows of its batch: the
same indexes of its shard, padded in the same way, with the dataset's own settings. With the same
hardware and library versions the bytes are identical; otherwise pixels may differ by rounding.
"""

from collections.abc import Mapping, Sequence

from factory.common.devices import device_name
from factory.common.errors import UserError
from factory.common.image_arrays import ImageArray
from factory.common.program import command
from factory.common.storage import AnyPath
from factory.common.version import library_versions
from factory.data import columns
from factory.inspection.compare import Regenerated, compared, spec_of
from factory.planner.plan import ImageSpec, plan
from factory.recipe.model_files import on_this_machine
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.pool import RendererFactory, rendering_threads
from factory.shards.layout import file_at
from factory.shards.manifest import Manifest
from factory.shards.parquet import Row, num_rows, read_rows, shard_rows


class Regenerator:
    """Regenerates stored rows of one dataset with its settings."""

    def __init__(
        self,
        out: AnyPath,
        manifest: Manifest,
        *,
        device: str | None = None,
        allow_pickle: bool = False,
        allow_local_model: bool = False,
        renderer_factory: RendererFactory | None = None,
    ) -> None:
        """Prepare the device; models are loaded when first needed.

        Args:
            out: Dataset directory.
            manifest: Manifest of the dataset.
            device: Device other than the dataset's, e.g. `cpu`; pixels may then differ by rounding.
            allow_pickle: Whether to load pickled weights of models without safetensors.
            allow_local_model: Whether to load models and adapters on this machine.
            renderer_factory: Creates the renderer; default: the recipe's diffusers model.

        Raises:
            UserError: There is no such device.
        """
        from factory.builder.ranks import own_device
        from factory.renderer.pool import Renderers

        self._out, self._manifest = out, manifest
        kind = device or manifest.settings.device
        try:
            self._device = own_device(kind)
        except UserError as error:
            raise UserError(f"{error}; choose another with --device (pixels may differ)") from None
        self._allow_local_model = allow_local_model or renderer_factory is not None
        self._renderers = Renderers(
            renderer_factory,
            device=self._device,
            allow_pickle=allow_pickle,
            offload=manifest.offload_on(str(self._device)),
        )

    def notes(self) -> list[str]:
        """Return differences between this machine and the dataset's that may change pixels."""
        found = self._manifest
        libraries = library_versions(*found.settings.inference.libraries)
        now = {"device": device_name(self._device.type), **libraries}
        then = {"device": found.device, **(found.versions[-1] if found.versions else {})}
        return [
            f"{name} is {value} here; the dataset was generated with {then.get(name, 'another')}"
            for name, value in now.items()
            if value != then.get(name)
        ]

    def batch(self, recipe: ResolvedRecipe, index: int) -> list[Regenerated]:
        """Regenerate the batch of an image.

        Returns:
            All images of the batch that the dataset has, in order.

        Raises:
            UserError: The rows cannot be read, or the model cannot be loaded.
        """
        settings, entry = self._manifest.settings, self._manifest.configs[recipe.name]
        indexes = batch_of(
            index,
            num_images=entry.images,
            shard_size=settings.shard_size,
            batch_size=settings.batch_size,
        )
        stored = stored_rows(self._out, self._manifest, recipe.name, indexes)
        rows = {row[columns.INDEX]: row for row in stored}
        results = self._generate_attempts(recipe, indexes, rows)
        return [compared(row, results[at], recipe) for at, row in rows.items()]

    def alone(self, recipe: ResolvedRecipe, index: int) -> Regenerated:
        """Regenerate one image without its batch: fast, but the bytes are rarely the same."""
        indexes = range(index, index + 1)
        (row,) = stored_rows(self._out, self._manifest, recipe.name, indexes)
        (pixels,) = self._render(recipe, [spec_of(row, recipe)])
        return compared(row, pixels, recipe)

    def _generate_attempts(
        self, recipe: ResolvedRecipe, indexes: range, rows: Mapping[int, Row]
    ) -> dict[int, ImageArray | None]:
        """Generate a batch as the build did: all its images, then further attempts."""
        planned = plan(recipe).rows(indexes.start, indexes.stop)
        results: dict[int, ImageArray | None] = {}
        for attempt in range(1 + max((row[columns.ATTEMPT] for row in rows.values()), default=0)):
            specs = []
            for spec in planned:
                row = rows.get(spec.index)
                if row is not None and row[columns.ATTEMPT] == attempt:
                    specs.append(spec_of(row, recipe))
                elif row is None or row[columns.ATTEMPT] > attempt:
                    specs.append(spec.again(attempt) if attempt else spec)
            generated = self._render(recipe, specs)
            results |= {spec.index: one for spec, one in zip(specs, generated, strict=True)}
        return results

    def _render(
        self, recipe: ResolvedRecipe, specs: Sequence[ImageSpec]
    ) -> Sequence[ImageArray | None]:
        self._require_allowed(recipe)
        settings = self._manifest.settings
        renderer = self._renderers.get(recipe, settings.inference)
        with rendering_threads(renderer, settings.threads):
            return renderer.render(specs, batch_size=settings.batch_size)

    def _require_allowed(self, recipe: ResolvedRecipe) -> None:
        """Refuse a model on this machine: the dataset that names it may be somebody else's."""
        found = [] if self._allow_local_model else on_this_machine(recipe.model)
        if found:
            raise UserError(
                f"{recipe.name}: the stored recipe uses {found[0]!r:.200} on this machine, which "
                "is not read; if the dataset is yours, add --allow-local-model"
            )


def batch_of(index: int, *, num_images: int, shard_size: int, batch_size: int) -> range:
    """Return the images of an image's batch; each shard starts a new batch."""
    shard = shard_rows(index // shard_size, num_images=num_images, shard_size=shard_size)
    start = shard.start + (index - shard.start) // batch_size * batch_size
    return range(start, min(start + batch_size, shard.stop))


def stored_rows(out: AnyPath, manifest: Manifest, config: str, indexes: range) -> list[Row]:
    """Return the rows of a range of images in one shard; failed images have no row.

    Raises:
        UserError: The shard is missing.
        Failure: It is not a complete Parquet file.
    """
    entry, size = manifest.configs[config], manifest.settings.shard_size
    number = indexes.start // size
    path = out / file_at(manifest, config, number)
    if not path.is_file():
        raise UserError(f"{path}: is missing; `{command('build')}` generates missing images")
    num_rows(path)
    failed = {image.index for image in entry.failed}
    shard = shard_rows(number, num_images=entry.images, shard_size=size)
    places = [place for place in shard if place not in failed]
    return [row for place, row in zip(places, read_rows(path), strict=False) if place in indexes]
