"""Plan every image of a config (prompt, label, seed, parameters) before any is generated.

Image i has label `i % num_classes` and number `j = i // num_classes` within its class, so every
prefix of a config is balanced. All random values are sampled here, each as a pure function of (base
seed, config name, quantity, i): a range of rows costs the same wherever it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.data import columns as schema
from factory.distributions.base import Distribution, Sampler
from factory.distributions.discrete import Constant, pick_by_weight
from factory.distributions.template import Value, template_of
from factory.distributions.variables import Once, PerClass
from factory.planner.listed import first_images, listed_images, scattered
from factory.planner.streams import attempt_seed, seeds, uniforms
from factory.recipe.resolved import ResolvedRecipe, equal_shares

Integers = NDArray[np.int64]


class ImageSpec(NamedTuple):
    """A row of the plan: everything needed to generate one image.

    A tuple, because a frozen dataclass takes six times as long to make.

    Attributes:
        index: Its index in the config, from 0.
        label: Class index.
        class_name: The sampled prompt text of the class.
        recipe: Name of its config.
        prompt: Prompt for the model.
        negative_prompt: Negative prompt for the model.
        variables: Values by name, in alphabetical order; None if the class has none.
        guidance_scale: A float32 value.
        num_inference_steps: Number of scheduler steps.
        seed: Seed of the initial noise, 63 bits.
        attempt: 0; higher if the image is generated again with other noise.
        template: The template of `prompt` if the config has several; else None.
    """

    index: int  # type: ignore[assignment]  # hides `tuple.index`, which nothing needs
    label: int
    class_name: str
    recipe: str
    prompt: str
    negative_prompt: str
    variables: Mapping[str, Value | None]
    guidance_scale: float
    num_inference_steps: int
    seed: int
    attempt: int = 0
    template: str | None = None

    def again(self, attempt: int) -> ImageSpec:
        """Return the row of a later attempt: same prompt and parameters, other noise.

        Args:
            attempt: From 1; `self` is the planned row (attempt 0).
        """
        assert self.attempt == 0, "the seed of an attempt is derived from the planned one"
        return self._replace(seed=attempt_seed(self.seed, attempt), attempt=attempt)

    def as_row(self) -> dict[str, Any]:
        """Return the row's columns by name, except the image."""
        return {
            schema.LABEL: self.label,
            schema.CLASS: self.class_name,
            schema.RECIPE: self.recipe,
            schema.PROMPT: self.prompt,
            schema.NEGATIVE_PROMPT: self.negative_prompt,
            **({schema.TEMPLATE: self.template} if self.template is not None else {}),
            **self.variables,
            schema.GUIDANCE_SCALE: self.guidance_scale,
            schema.NUM_INFERENCE_STEPS: self.num_inference_steps,
            schema.SEED: self.seed,
            schema.INDEX: self.index,
            schema.ATTEMPT: self.attempt,
        }


_FIELDS = {
    name: "class_name" if name == schema.CLASS else name
    for name in schema.fixed_columns()
    if name != schema.IMAGE
}
"""Fields of `ImageSpec` by column."""


def column_of(rows: Sequence[ImageSpec], name: str) -> list[Any]:
    """Return a column of rows as `as_row` has it, except the image; None in rows without it."""
    if name in _FIELDS:
        return list(map(attrgetter(_FIELDS[name]), rows))
    if name == schema.TEMPLATE:
        # A variable may have this name.
        return [row.variables.get(name, row.template) for row in rows]
    return [row.variables.get(name) for row in rows]


@dataclass(frozen=True)
class Plan:
    """All images of a recipe; rows are computed on request."""

    recipe: ResolvedRecipe

    def __len__(self) -> int:
        return self.recipe.num_images

    def rows(self, start: int, stop: int) -> list[ImageSpec]:
        """Return the rows of a range.

        A combination returns its members' rows, with their own `recipe` and `index`.

        Raises:
            UserError: The range exceeds the plan.
        """
        if not 0 <= start <= stop <= len(self):
            raise UserError(
                f"{self.recipe.name}: there are no rows {start}:{stop}; ask for a range within "
                f"0:{len(self)}"
            )
        if not self.recipe.is_combination:
            return _Rows(self.recipe, start, stop).specs()
        if self.recipe.rows:
            return self._listed(start, stop)
        specs: list[ImageSpec] = []
        first = 0
        for member, num_images in self.parts():
            low, high = max(start - first, 0), min(stop - first, num_images)
            if low < high:
                specs += plan(member).rows(low, high)
            first += num_images
        return specs

    def _listed(self, start: int, stop: int) -> list[ImageSpec]:
        """Return a range of rows of a combination that lists its images."""
        own = self.recipe
        order = listed_images(tuple(own.rows.values()), len(own.classes))[start:stop]
        found = [
            scattered(plan(member).rows, order[order[:, 0] == number, 1])
            for number, member in enumerate(own.members)
        ]
        return [found[number][index] for number, index in order.tolist()]

    def parts(self) -> list[tuple[ResolvedRecipe, int]]:
        """Return the configs that make up the plan, in order, with the first images used of each.

        If an equal share does not divide evenly, the first members give one more image per class.
        Of a combination that lists its images, some of the first ones are not used.
        """
        own = self.recipe
        if not own.is_combination:
            return [(own, len(self))]
        if own.rows:
            return [(member, first_images(own, member)) for member in own.members]
        if own.images_per_class is None:
            return [(member, member.num_images) for member in own.members]
        shares = equal_shares(own.images_per_class, len(own.members))
        return [
            (member, share * len(own.classes))
            for member, share in zip(own.members, shares, strict=True)
        ]


def plan(recipe: ResolvedRecipe) -> Plan:
    """Return the plan of a recipe; nothing is computed yet."""
    return Plan(recipe)


def value_for_all(recipe: ResolvedRecipe, quantity: Once, stream: str) -> Value:
    """Return the value that all images of a config share.

    Args:
        recipe: Recipe of the config.
        quantity: One of the recipe's quantities.
        stream: The quantity's name in random addresses, e.g. `guidance_scale`.
    """
    address = (recipe.stream_name, stream)
    first = uniforms(recipe.sampling.seed, address, start=0, stop=1)
    return quantity.sample(first, np.zeros(1, np.int64))[0]


class _Rows:
    """The rows of one range of one config; one method per column."""

    def __init__(self, recipe: ResolvedRecipe, start: int, stop: int) -> None:
        self.recipe, self.start, self.stop = recipe, start, stop
        # A recipe lists its labels again for every use, which costs more than a row.
        self.names = recipe.labels
        index = np.arange(start, stop, dtype=np.int64)
        self.labels: Integers = index % len(recipe.classes)
        self.listed_labels: list[int] = self.labels.tolist()
        self.numbers: Integers = index // len(recipe.classes)

    def specs(self) -> list[ImageSpec]:
        if self.start == self.stop:
            return []
        wordings, variables = self._wordings(), self._variables()
        labels, count = self.listed_labels, self.stop - self.start
        known: dict[str, Sequence[Value | None]] = {
            "class": wordings,
            "label": [self.names[one] for one in labels],
            **variables,
        }
        texts = self._texts()
        steps = self._sample(self.recipe.sampling.num_inference_steps, "num_inference_steps")
        values = zip(*variables.values(), strict=True) if variables else repeat((), count)
        columns: list[Iterable[Any]] = [  # in the order of the fields
            range(self.start, self.stop),
            labels,
            map(str, wordings),
            repeat(self.recipe.name),
            _filled(texts, known),
            _filled([self.recipe.negative_prompt] * count, known),
            map(dict, map(zip, repeat(tuple(variables)), values)),
            self._scales(),
            [int(one or 0) for one in steps],
            self._seeds().tolist(),
            repeat(0),
            texts if len(self.recipe.prompt) > 1 else repeat(None),
        ]
        return list(map(ImageSpec._make, zip(*columns, strict=False)))

    def _scales(self) -> list[float]:
        """Return the guidance scale of each row, a float32 value."""
        scales = self._sample(self.recipe.sampling.guidance_scale, "guidance_scale")
        found: list[float] = np.asarray(scales, np.float32).astype(np.float64).tolist()
        return found

    def _uniforms(self, stream: str) -> NDArray[np.float64]:
        address = (self.recipe.stream_name, stream)
        return uniforms(self.recipe.sampling.seed, address, start=self.start, stop=self.stop)

    def _seeds(self) -> Integers:
        sampling = self.recipe.sampling
        # Shared noise depends on the image's number within its class, not on the config.
        places = self.numbers // sampling.images_per_noise
        stream: tuple[str, ...] = ("shared noise",)
        if sampling.noise == "independent":
            places = places * len(self.recipe.classes) + self.labels
            stream = (self.recipe.stream_name, "seed")
        first, last = int(places.min()), int(places.max())
        sampled = seeds(sampling.seed, stream, start=first, stop=last + 1)
        return sampled[places - first]

    def _sample(self, quantity: Distribution | PerClass, stream: str) -> list[Value | None]:
        if isinstance(quantity, Once):
            return [value_for_all(self.recipe, quantity, stream)] * len(self.labels)
        if isinstance(quantity, Distribution) and not quantity.by_class:
            return list(quantity.sample(self._uniforms(stream), self.numbers))
        samplers = {label: quantity.of(self.names[label]) for label in set(self.listed_labels)}
        values = self._constants(samplers) or self._sample_by_class(samplers, stream)
        # The type of all classes is examined only if it can change a value.
        if int in set(map(type, values)) and quantity.type() == "float64":
            return [None if one is None else float(one) for one in values]
        return values

    def _constants(self, samplers: Mapping[int, Sampler | None]) -> list[Value | None] | None:
        """Return the values if they are constant for each class, as most texts of classes are."""
        values = {
            label: None if one is None else one.root
            for label, one in samplers.items()
            if one is None or isinstance(one, Constant)
        }
        if len(values) < len(samplers):
            return None
        return [values[label] for label in self.listed_labels]

    def _sample_by_class(
        self, samplers: Mapping[int, Sampler | None], stream: str
    ) -> list[Value | None]:
        sampled = self._uniforms(stream)
        values: list[Value | None] = [None] * len(sampled)
        for places in self._places_by_label():
            one = samplers[self.listed_labels[places[0]]]
            if one is None:
                continue
            found = one.sample(sampled[places], self.numbers[places])
            for place, value in zip(places.tolist(), found, strict=True):
                values[place] = value
        return values

    def _places_by_label(self) -> list[Integers]:
        """Return the positions of the rows of each class that occurs, by label."""
        order = np.argsort(self.labels, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.labels[order])) + 1)

    def _wordings(self) -> list[Value | None]:
        wordings = {entry.label: entry.prompt for entry in self.recipe.classes}
        return self._sample(PerClass.model_construct(per_class=wordings, default=None), "class")

    def _variables(self) -> dict[str, list[Value | None]]:
        return {
            column.name: self._sample(column.quantity, column.stream)
            for column in self.recipe.columns
        }

    def _texts(self) -> list[str]:
        """Return the template of each row, as written in the recipe."""
        texts = [one.text for one in self.recipe.prompt]
        if len(texts) == 1:
            return texts * (self.stop - self.start)
        weights = [one.weight for one in self.recipe.prompt]
        picked = pick_by_weight(weights, self._uniforms("prompt"))
        return [texts[place] for place in picked.tolist()]


def _filled(texts: Sequence[str], columns: Mapping[str, Sequence[Value | None]]) -> list[str]:
    """Return the text of each row: its template, filled with the row's values."""
    if len(set(texts)) == 1:
        return template_of(texts[0]).fill(columns, count=len(texts))
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        places.setdefault(text, []).append(place)
    found = [""] * len(texts)
    for text, own in places.items():
        template = template_of(text)
        values = {name: [columns[name][place] for place in own] for name in template.names}
        for place, filled in zip(own, template.fill(values, count=len(own)), strict=True):
            found[place] = filled
    return found
