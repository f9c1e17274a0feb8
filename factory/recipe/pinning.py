"""Pin the references of a recipe: models by revision, captions by a hash of their text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from factory.common.errors import UserError
from factory.common.yaml_nodes import Key, Place
from factory.distributions.caption_texts import captions_of, require_captions
from factory.distributions.captions import Captions, CaptionSource
from factory.distributions.variables import Variable
from factory.hub.recipe_references import place_of
from factory.models.adapter_files import adapter_file, file_revision
from factory.models.embedded import EMBEDDED_ID, embedded_revision
from factory.models.presets import PRESETS, find_preset
from factory.recipe.checks import Checked
from factory.recipe.faults import error_words, nearest
from factory.recipe.model_files import is_here, looks_like_path
from factory.recipe.schema import LANCZOS_VERSION, Adapter, Model, Output

_HUB = "hf://datasets/"


def pinned_model(checked: Checked, model: Model, folder: Path) -> Model:
    """Return the model with absolute local paths, and pinned embedded model and adapters."""
    adapters = tuple(
        _pinned_adapter(checked, adapter, ("model", "adapters", place), folder)
        for place, adapter in enumerate(model.adapters)
    )
    return _pinned_base(checked, model.model_copy(update={"adapters": adapters}), folder)


def pinned_output(output: Output) -> Output:
    """Return the output with the version of its interpolation."""
    if output.resample != "lanczos" or output.size is None:
        return output
    return output.model_copy(update={"lanczos_version": LANCZOS_VERSION})


def _pinned_adapter(
    checked: Checked, adapter: Adapter, path: tuple[Key, ...], folder: Path
) -> Adapter:
    """Return a local adapter as its file, pinned by its hash; other adapters unchanged."""
    if _is_shared(checked.node.find((*path, "id")).place):
        if looks_like_path(adapter.id) or is_here(adapter.id):
            checked.add(
                f"{adapter.id} is a local path; a shared recipe must use adapters on the Hub",
                *(*path, "id"),
            )
        return adapter
    found = _beside(checked, (*path, "id"), adapter.id, folder)
    is_path = adapter.id.startswith((".", "/", "~")) or adapter.id.endswith(".safetensors")
    if not found.exists() and not is_path:
        return adapter
    try:
        if not found.exists():
            raise UserError(f"{adapter.id} not found; give a file, a directory or a Hub id")
        file = adapter_file(found, adapter.weight_name)
    except UserError as error:
        checked.add(error.faults[0].message, *path, "id")
        return adapter
    revision = file_revision(file)
    if adapter.revision not in (None, revision):
        checked.add(
            f"{adapter.revision} does not match this file, whose hash is {revision}; remove the "
            "revision to use this file",
            *(*path, "revision"),
        )
    return adapter.model_copy(update={"id": str(file), "revision": revision, "weight_name": None})


def _pinned_base(checked: Checked, model: Model, folder: Path) -> Model:
    if model.id == EMBEDDED_ID:
        current = embedded_revision()
        if model.revision and current and model.revision != current:
            checked.add(
                f"{model.revision[:12]} is not the embedded generator of this version "
                f"({current[:12]}); remove the revision to use this one",
                *("model", "revision"),
            )
        return model.model_copy(update={"revision": current or model.revision})
    place = checked.node.find(("model", "id")).place
    if _is_shared(place):
        if looks_like_path(model.id) or is_here(model.id):
            checked.add(
                f"{model.id} is a local path; a shared recipe must use models on the Hub: "
                "choose another with --model",
                *("model", "id"),
            )
        return model
    try:
        directory = _directory(model.id, checked, folder)
    except (OSError, RuntimeError) as error:
        # Names too long for the file system, home directories of unknown users.
        checked.add(f"cannot be read as a path ({error_words(error)})", "model", "id")
        return model
    if directory is None:
        if "/" not in model.id:
            checked.add(_unknown_model(model.id), "model", "id")
        return model
    if not (directory / "model_index.json").is_file():
        problem = "has no model_index.json" if directory.is_dir() else "is not a directory"
        checked.add(
            f"{model.id} {problem}; give a directory saved by a diffusers pipeline, or a Hub id",
            *("model", "id"),
        )
    return model.model_copy(update={"id": str(directory)})


def _unknown_model(model_id: str) -> str:
    preset = find_preset(model_id)
    if preset is not None:
        return f"{model_id} is a name for --model; in a recipe write the id {preset.id}"
    known = nearest(model_id, [one.name for one in PRESETS])
    return f"{model_id} is neither a Hub id (ORG/NAME), a directory nor a name for --model{known}"


def _directory(model_id: str, checked: Checked, folder: Path) -> Path | None:
    """Return the directory of an id, relative to the recipe's file or the current directory."""
    place = checked.node.find(("model", "id")).place
    base = place.path.parent if place.path else Path()
    candidates = [base / model_id, folder / model_id, Path(model_id)]
    path = Path(model_id).expanduser()
    if path.is_absolute():
        candidates = [path]
    for candidate in candidates:
        if (candidate / "model_index.json").is_file():
            return candidate.resolve()
    return candidates[0].resolve() if looks_like_path(model_id) else None


def _is_shared(place: Place) -> bool:
    """Return whether a value is in a recipe from the Hub."""
    return place.path is not None and place_of(place.path) is not None


def pinned_variables(
    checked: Checked, variables: Mapping[str, Variable], labels: Sequence[str], folder: Path
) -> dict[str, Variable]:
    """Return the variables; captions in local files get an absolute path and a hash."""
    pinned = dict(variables)
    for name, variable in variables.items():
        if isinstance(variable, Captions):
            path = ("variables", name, "captions")
            try:
                source = _pinned_captions(checked, variable.captions, path, folder)
                if source.sha256:
                    texts = captions_of(source.place, sha256=source.sha256)
                    require_captions(source.place, texts, labels)
            except UserError as error:
                checked.add(error.faults[0].message, *path)
                checked.refused.add(f"variables.{name}")
            else:
                pinned[name] = variable.model_copy(update={"captions": source})
    return pinned


def require_pinned_captions(checked: Checked, variables: Mapping[str, Variable]) -> None:
    """Refuse captions without a hash or commit: somebody else's recipe may name any file.

    With a hash, captions on this machine are used only if they are what the recipe's author had.
    """
    for name, variable in variables.items():
        source = variable.captions if isinstance(variable, Captions) else None
        fault = _unpinned(source) if source else None
        if fault:
            checked.add(
                f"{fault}; restore the recipe, or build the dataset again",
                *("variables", name, "captions"),
            )


def _unpinned(source: CaptionSource) -> str | None:
    """Return why captions are not read: a key is missing; or None."""
    name = (source.dataset or "").removeprefix(_HUB)
    if source.file is not None or looks_like_path(name):
        if source.sha256 and not source.revision:
            return None
        return (
            f"{source.place.shown} is on this machine and is not read: `sha256`, the hash of its "
            "captions, is missing"
        )
    if source.revision is None and (source.sha256 is None or name != source.dataset):
        return f"{source.place.shown} is not read: `revision`, the commit, is missing"
    return None


def _pinned_captions(
    checked: Checked, source: CaptionSource, path: tuple[Key, ...], folder: Path
) -> CaptionSource:
    """Return the source with an absolute path and a hash; unchanged for a Hub dataset."""
    key = "dataset" if source.file is None else "file"
    if _is_shared(checked.node.find((*path, key)).place):
        name = str(source.dataset)
        if source.file is not None or looks_like_path(name) or is_here(name):
            raise UserError(
                f"{source.file or name} is a local path; a shared recipe must use captions "
                "from a dataset of the Hub, by its commit"
            )
    if source.file is not None:
        found = _beside(checked, (*path, "file"), source.file, folder)
        source = source.model_copy(update={"file": str(found)})
    else:
        directory = _beside(checked, (*path, "dataset"), str(source.dataset), folder)
        if not directory.is_dir():
            if source.revision is None:
                raise UserError(
                    f"{source.dataset} is not pinned; add `revision`, the commit of the dataset"
                )
            return source
        source = source.model_copy(update={"dataset": str(directory)})
    texts = captions_of(source.place, sha256=source.sha256)
    return source.model_copy(update={"sha256": texts.sha256})


def _beside(checked: Checked, path: tuple[Key, ...], name: str, folder: Path) -> Path:
    """Return the path that a recipe refers to: beside its file, else in the current directory."""
    place = checked.node.find(path).place
    base = place.path.parent if place.path else folder
    candidates = [base / Path(name).expanduser(), Path(name).expanduser()]
    return next((one for one in candidates if one.exists()), candidates[0]).resolve()
