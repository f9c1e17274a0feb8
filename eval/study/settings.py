"""Resolve the settings of a study's rows, to show and compare them before anything is built.

Two rows must differ in exactly the settings that their comparison names. Otherwise a difference in
scores would be attributed to the wrong cause.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from eval.sampling import quantity_text
from eval.study.spec import SetSpec, Setting, StudySpec
from eval.study.steps import output_of
from factory.common.errors import Fault, UserError
from factory.common.frozen import Frozen
from factory.common.text import cut

_SETTINGS: dict[Setting, tuple[tuple[str, ...], ...]] = {
    "prompt": (("classes",), ("prompt",), ("negative_prompt",), ("variables",)),
    "guidance_scale": (("sampling", "guidance_scale"),),
    "guidance_interval": (("sampling", "guidance_interval"),),
    "num_inference_steps": (("sampling", "num_inference_steps"),),
    "model": (("model",),),
    "noise": (("sampling", "noise"), ("sampling", "images_per_noise")),
}


class PartCost(Frozen):
    """Cost of generating one config.

    Attributes:
        images: Planned number of images.
        calls: Number of network calls.
        seconds: Estimated time, or None without a known speed.
    """

    images: int
    calls: int
    seconds: float | None


class RowSettings(Frozen):
    """How a row's images are generated; for a union, the settings of each member.

    Attributes:
        images: Planned number of images.
        is_union: Whether it is made of other rows' images.
        shares: Whether its images are those of other rows: a union, or a twin.
        labels: Class names.
        scheduler: Classes used, or the model's own if unknown.
        digest: Hash of the resolved recipe, and of its members'.
        settings: By name: the distinct values among the members, as JSON texts.
        parts: Cost of the row's config, or of a union's members, by config.
        device: Device of the estimate.
    """

    images: int
    is_union: bool
    shares: bool
    labels: list[str]
    scheduler: str
    digest: str
    settings: dict[str, list[str]]
    parts: dict[str, PartCost]
    device: str | None

    def guidance(self) -> str:
        """Return the guidance as text: `7.5`, `1 to 5`, `1 to 5 (interval [0.2, 1])`."""
        scales = ", ".join(_quantity(one) for one in self.settings["guidance_scale"])
        # Results of older versions have none.
        listed = [json.loads(one)[0] for one in self.settings.get("guidance_interval", ())]
        intervals = ", ".join(json.dumps(one) if one else "all steps" for one in listed)
        return f"{scales} (interval {intervals})" if any(listed) else scales

    def steps(self) -> str:
        """Return the denoising steps as text."""
        return ", ".join(_quantity(one) for one in self.settings["num_inference_steps"])

    def prompts(self) -> str:
        """Return the prompt templates as text."""
        return ", ".join(
            str(text) for one in self.settings["prompt"] for text in _texts(json.loads(one)[1])
        )

    def output(self) -> str:
        """Return the resize of images as text."""
        found = []
        for one in self.settings["output"]:
            (output,) = json.loads(one)
            filtered = ", anti-aliased" if output["antialias"] else ""
            found.append(f"{_sides(output['size'])}{filtered}")
        return "; ".join(found)


Settings = dict[str, dict[str, RowSettings]]
"""By name of the dataset and row."""


def resolve(spec: StudySpec) -> Settings:
    """Return the resolved settings of every row.

    Raises:
        UserError: A recipe has errors, or compared rows differ in other settings than their
            comparison names.
    """
    found: Settings = {}
    faults: list[Fault] = []
    for name, one in spec.sets.items():
        found[name] = {
            row.row: settings_of(
                output_of(
                    [
                        *("factory", "plan", row.recipe, *recipe_options(spec, name, row.row)),
                        "--json",
                    ]
                )
            )
            for row in one.recipes
        }
        faults += comparison_faults(name, one, found[name])
    if faults:
        raise UserError(faults)
    return found


def recipe_options(spec: StudySpec, name: str, row: str) -> list[str]:
    """Return the options of `factory build` and `factory plan` that change a row's recipe."""
    one = spec.sets[name]
    changes = spec.set | one.set | one.row(row).set
    options = ["--model", spec.model] if spec.model else []
    options += ["--images-per-class", str(one.images_per_class)]
    for key, value in changes.items():
        options += ["--set", f"{key}={json.dumps(value, ensure_ascii=False)}"]
    return options


def settings_of(text: str) -> RowSettings:
    """Return a row's settings from the output of `factory plan RECIPE --json`.

    Args:
        text: A JSON document with all configs, members before the config itself.
    """
    configs = json.loads(text)["configs"]
    by_name = {one["name"]: one for one in configs}
    own = configs[-1]
    members = [by_name[name] for name in own["recipe"].get("combine", [own["name"]])]
    return RowSettings(
        images=own["images"],
        is_union="combine" in own["recipe"],
        shares=bool({"combine", "same_images_as"} & set(own["recipe"])),
        scheduler=", ".join(
            sorted({one["sampling"]["scheduler"] or "the model's own" for one in members})
        ),
        labels=[one["label"] for one in members[0]["recipe"]["classes"]],
        digest=_digest(configs),
        settings={
            "images": [f"{own['images']:,}"],
            **{
                name: sorted({_text(one["recipe"], paths) for one in members})
                for name, paths in _SETTINGS.items()
            },
            # Not the recipe's keys: without a resize they change no pixel.
            "output": sorted({_text(one["sampling"], (("output",),)) for one in members}),
        },
        parts={
            one["name"]: PartCost(
                images=one["images"], calls=one["cost"]["calls"], seconds=one["cost"]["seconds"]
            )
            for one in members
        },
        device=members[0]["cost"]["device"],
    )


def comparison_faults(name: str, one: SetSpec, found: Mapping[str, RowSettings]) -> list[Fault]:
    """Return faults of a dataset's comparisons."""
    faults = []
    for pair in one.all_comparisons():
        row, other = found[pair.row].settings, found[pair.to].settings
        differing = {key for key in row if row[key] != other[key]}
        of_row, of_other = (
            {key: cut(", ".join(values), 60) for key, values in own.items()} for own in (row, other)
        )
        where = f"sets.{name}: {pair.row} against {pair.to}"
        if found[pair.row].labels != found[pair.to].labels:
            faults.append(
                Fault(
                    f"{where}: their classes differ, so their scores cannot be compared; remove "
                    "this comparison"
                )
            )
        for key in sorted(differing - set(pair.differs)):
            faults.append(
                Fault(
                    f"{where}: they also differ in {key} ({of_row[key]}; {of_other[key]}); "
                    "name it in `differs`, or make it equal with `set`"
                )
            )
        for key in sorted(set(pair.differs) - differing):
            faults.append(
                Fault(
                    f"{where}: `differs` names {key}, but both have {of_row[key]}; "
                    "correct the recipe or the study"
                )
            )
    return faults


def _digest(configs: list[dict[str, Any]]) -> str:
    unseen = ("summary", "source")
    recipes = [
        {key: value for key, value in one["recipe"].items() if key not in unseen} for one in configs
    ]
    return hashlib.sha256(json.dumps(recipes, sort_keys=True).encode()).hexdigest()


def _text(recipe: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> str:
    return json.dumps([_at(recipe, path) for path in paths], sort_keys=True, ensure_ascii=False)


def _at(recipe: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = recipe
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _texts(prompt: Any) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [one["text"] for one in prompt]


def _sides(size: list[int] | None) -> str:
    """Return the size of images, [height, width], as text."""
    if size is None:
        return "as generated"
    height, width = size
    return f"{width} px" if height == width else f"{width} x {height} px"


def _quantity(text: str) -> str:
    (value,) = json.loads(text)
    return quantity_text(value)
