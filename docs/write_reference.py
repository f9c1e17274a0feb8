"""Write `recipes/schema.json` for editors, `docs/recipe-reference.md` and the tables of models.

The first two come from the recipe models, the tables of `docs/models.md` from the presets.

Run it with `make schema`; with `--check` it only reports whether they are current.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
from pathlib import Path
from typing import Any

from command_reference import model_tables
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from factory.common.console import write as write_line
from factory.common.entry import run_main
from factory.common.errors import UserError
from factory.distributions.captions import CaptionSource
from factory.distributions.variables import VARIABLE_KINDS
from factory.models.presets import PRESETS
from factory.recipe.json_schema import schema_text
from factory.recipe.schema import (
    Adapter,
    ClassEntry,
    Model,
    Output,
    RecipeFile,
    Sampling,
    WeightedText,
)

ROOT = Path(__file__).resolve().parent.parent
_TABLES = re.compile(
    r"(<!-- models: written by `make schema` -->\n).*?(\n<!-- end of models -->)", re.DOTALL
)

EXAMPLES = {
    "constant": "7.5",
    "list": "[photo, drawing, painting]",
    "choice": "{choice: {sunny: 3, foggy: 1}}",
    "cycle": "{cycle: [front, side, back]}",
    "uniform": "{uniform: [1, 5]}",
    "loguniform": "{loguniform: [1, 16]}",
    "normal": "{normal: {mean: 3, std: 0.5}}",
    "truncated_normal": "{truncated_normal: {mean: 3, std: 2, low: 1, high: 8}}",
    "integers": "{integers: [20, 50]}",
    "per_class": "{per_class: {ship: [at sea, in port]}, default: [outdoors]}",
    "linked": "{linked: [style, medium], values: [[baroque, oil], [pop art, silkscreen]]}",
    "once": "{once: {integers: [1, 5]}}",
    "captions": "{captions: {file: captions.csv, column: text, label_column: label}}",
}
"""An example of each value or distribution."""

_WHAT = {
    "constant": "The same value for every image.",
    "list": "One of the values with equal probability.",
}


def page_text() -> str:
    """Return the reference page, Markdown."""
    sections = [
        _INTRODUCTION,
        "## Keys\n\n" + _keys(RecipeFile),
        "## `prompt`, when it is a list\n\n" + _keys(WeightedText),
        "## `classes`\n\n" + _doc(ClassEntry) + "\n\n" + _keys(ClassEntry),
        "## `sampling`\n\n" + _keys(Sampling),
        "## `model`\n\n" + _keys(Model),
        "## `model.adapters`\n\n" + _doc(Adapter) + "\n\n" + _keys(Adapter),
        "## Models by name\n\n" + _MODELS + _models(),
        "## `output`\n\n" + _keys(Output),
        "## Values and distributions\n\n" + _DISTRIBUTIONS + _kinds(),
        "## `captions`\n\n" + _CAPTIONS + _keys(CaptionSource),
        _TEMPLATES,
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _keys(model: type[BaseModel]) -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _default(field.default)
        lines.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(lines)


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined or value in ("", {}):
        return ""
    if isinstance(value, BaseModel):
        plain = value.model_dump(mode="json")
        return "" if isinstance(plain, dict) or plain == "" else f"`{plain}`"
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


def _doc(model: type[BaseModel]) -> str:
    return inspect.getdoc(model) or ""


def _kinds() -> str:
    lines = ["| written | meaning |", "|---|---|"]
    for name, example in EXAMPLES.items():
        meaning = _WHAT[name] if name in _WHAT else _doc(VARIABLE_KINDS[name]).split(": `", 1)[0]
        lines.append(f"| `{example}` | {' '.join(meaning.split()).rstrip('.')}. |")
    return "\n".join(lines)


def _models() -> str:
    lines = [
        "| name | model | steps | guidance | pixels | scheduler | |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in PRESETS:
        own = (one.size or "its own", one.scheduler or "its own")
        cells = (one.name, f"`{one.id}`", one.num_inference_steps, f"{one.guidance_scale:g}", *own)
        lines.append(f"| {' | '.join(map(str, cells))} | {one.remarks} |")
    return "\n".join(lines)


_MODELS = """\
`--model NAME` selects a model at a pinned commit, with its own size and scheduler. Guidance and
steps do not change. The model's own values in this table are used for `auto` in a recipe and, with
`--sampling model`, for every plain number in a recipe; distributions do not change. `--set` is
applied last. NAME may also be any other Hub id or directory; it sets only the model.

"""

_INTRODUCTION = """\
# Recipe reference

Written by `make schema` from the models in `factory/recipe/schema.py`; edit those, not this page.

A recipe is one YAML file and defines one config of images. `# yaml-language-server:
$schema=../schema.json` as its first line lets an editor complete and explain the keys. `factory
check FILE` reports all its errors.

A recipe that `extends` another contains only the differences: the mappings `variables`, `sampling`,
`model` and `output` are merged key by key, everything else is replaced, and a key set to `null` is
removed. A child with another `model.id` inherits nothing else of its parent's model. `name`,
`summary` and `source` are not inherited. A file whose name begins with `_` can only be extended.
The same keys can be set on the command line: `--set sampling.guidance_scale=2`.

A parent or member on the Hub is `hf://datasets/ORG/NAME@REVISION/PATH`: a file of a dataset
repository, whose path may omit `recipes/` and `.yaml`. Its commit is written into the resolved
recipe as `origins`. A recipe on the Hub may only use recipes in its folder, lists in `classes/` and
other `hf://` references, not local files. See [Sharing](sharing.md).
"""

_DISTRIBUTIONS = """\
Each can be used as the value of `variables`, `guidance_scale`, `num_inference_steps`, a class's
prompt text and its own fields (`per_class` and `once` only in `variables` and `sampling`, `linked`
and `captions` only in `variables`).

"""

_CAPTIONS = """\
A caption file is searched beside the recipe, then in the current directory. The resolved recipe
contains its path and the hash of its captions: the fingerprint changes with the captions, not with
the location of the file. A dataset on the Hub is pinned by `revision`, a commit. With
`label_column` each image gets captions of its own class, so `"{caption}"` alone can be the prompt.

"""

_TEMPLATES = """\
## Templates

`{class}` is the prompt text of the image's class, `{label}` its label, every other `{name}` a
variable or a field of the class. Braces may contain only a name; `{{` and `}}` are literal braces.
Numbers are written with six significant digits.

## YAML

Quote texts that YAML reads as something else: `"no"`, `"on"`, `"0"`, `"1:30"`. Write `1.0e-4`, not
`1e-4`. Merge keys (`<<`) and tags are not allowed; anchors and aliases work.
"""


def texts() -> dict[str, str]:
    """Return the text that each file should have, by its path in the repository."""
    models = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    return {
        "recipes/schema.json": schema_text(),
        "docs/recipe-reference.md": page_text(),
        "docs/models.md": _TABLES.sub(rf"\g<1>{model_tables()}\g<2>", models),
    }


def write(root: Path = ROOT) -> None:
    """Write the files."""
    for name, text in texts().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def stale(root: Path = ROOT) -> list[Path]:
    """Return the files that are missing or not current."""
    paths = {root / name: text for name, text in texts().items()}
    return [
        path
        for path, text in paths.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main() -> None:
    """Write the files, or with --check report whether they are current.

    Raises:
        UserError: With --check, one of them is not.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="only check whether they are current")
    if parser.parse_args().check:
        old = stale()
        if old:
            raise UserError(f"{', '.join(map(str, old))}: out of date; run `make schema`")
    else:
        write()
        write_line("\n".join(texts()))


if __name__ == "__main__":
    run_main(main)
