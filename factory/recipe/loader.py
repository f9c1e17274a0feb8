"""Load recipe files with parents and members; each file is read once, faults are collected."""

from dataclasses import dataclass, field
from pathlib import Path

from factory.common.dataset_files import check_files
from factory.common.errors import Fault, UserError
from factory.common.yaml_nodes import Node, Place
from factory.common.yaml_reader import read
from factory.data.columns import CONFIG_NAME
from factory.hub.recipe_references import is_hub_reference, place_of
from factory.recipe.checks import Checked
from factory.recipe.combination_checks import check_members, check_rows, rows_per_class
from factory.recipe.merge import (
    Overrides,
    apply_overrides,
    dropped_keys,
    is_combination,
    merge,
    own_keys_only,
    read_overrides,
    resolve_auto,
)
from factory.recipe.paths import find_class_list, find_recipe, shown_path
from factory.recipe.resolved import ResolvedRecipe
from factory.recipe.schema import RecipeFile
from factory.recipe.validate import assemble, set_name, validate

_MOST_PARENTS = 50


@dataclass
class Loader:
    """State of loading recipes: every file is read once, faults are collected.

    Attributes:
        overrides: Changes from the command line.
        faults: Faults found so far.
        stored: Whether the recipe is beside a dataset, which may be somebody else's. It is used as
            written: models are not looked up, and it refers to no other file than its members'.
        class_lists: Files of the class lists read, by their names in recipes.
        pins: Pinned `hf://` references, by the reference as written.
    """

    overrides: Overrides = field(default_factory=read_overrides)
    faults: list[Fault] = field(default_factory=list)
    stored: bool = False
    class_lists: dict[Path, str] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    _loaded: dict[Path, ResolvedRecipe | None] = field(default_factory=dict)
    _read: dict[Path, Node | None] = field(default_factory=dict)
    _open: list[Path] = field(default_factory=list)
    _origins: list[str] = field(default_factory=list)

    @property
    def recipe_files(self) -> list[Path]:
        """Files of the recipes read, parents and members included, in order."""
        return list(self._read)

    def load(self, path: Path) -> ResolvedRecipe | None:
        """Return the recipe of a file, or None if it has faults."""
        path = _stored(path) if self.stored else _real(path)
        if path not in self._loaded:
            self._loaded[path] = self._resolve(path)
        return self._loaded[path]

    def _resolve(self, path: Path) -> ResolvedRecipe | None:
        outer, self._origins = self._origins, []
        try:
            return self._resolve_alone(path)
        finally:
            self._origins = outer

    def _resolve_alone(self, path: Path) -> ResolvedRecipe | None:
        before = len(self.faults)
        node = self._merged(path, ())
        if node is None:
            return None
        if is_combination(node):
            # `prompt` is already rejected; the other keys may be correct.
            ignored: list[Fault] = []
            faults = ignored if "prompt" in node.value else self.faults
            node = own_keys_only(node, file=shown_path(path), faults=faults)
        try:
            written, node = node, resolve_auto(apply_overrides(node, self.overrides))
            node = self._with_classes(node, path.parent)
        except UserError as error:
            self.faults += error.faults
            return None
        checked = Checked(node, self.faults)
        file = validate(checked)
        if file is None:
            return None
        if is_combination(node):
            recipe = self._combination(checked, file, path)
        else:
            recipe = assemble(
                checked,
                file,
                name=path.stem,
                folder=path.parent,
                stored=self.stored,
            )
            recipe._dropped = dropped_keys(written, node)
        if recipe is not None:
            recipe = recipe.model_copy(update={"origins": (*file.origins, *self._origins)})
        return recipe if len(self.faults) == before else None

    def _mapping(self, path: Path) -> Node | None:
        """Return a file's mapping as written; each file is read once."""
        if path not in self._read:
            self._read[path] = None
            try:
                node = _read(path)
                if isinstance(node.value, dict):
                    self._read[path] = node
                else:
                    self.faults.append(
                        node.place.fault("a recipe must be a mapping of keys to values")
                    )
            except UserError as error:
                self.faults += error.faults
        return self._read[path]

    def _merged(self, path: Path, chain: tuple[Path, ...]) -> Node | None:
        """Return a recipe merged with its parents, or None if one of them has faults."""
        node = self._mapping(path)
        if node is None:
            return None
        if "prompt" in node.value and "combine" in node.value:
            place = node.value["combine"].key_place or node.place
            self.faults.append(
                place.fault("conflicts with `prompt`; keep one of them", key="combine")
            )
        parent = Node({}, node.place)
        extends = None if self._refused(node, "extends") else node.value.get("extends")
        if extends is not None and isinstance(extends.value, str):
            above = self._parent(extends, path, (*chain, path))
            if above is None:
                return None
            parent = above
        return merge(parent, node)

    def _parent(self, extends: Node, path: Path, chain: tuple[Path, ...]) -> Node | None:
        try:
            found = _real(find_recipe(extends.value, place=extends.place, folder=path.parent))
            self._note_origin(found, extends.value, named_in=path)
        except UserError as error:
            self.faults += [_with_key(fault, "extends") for fault in error.faults]
            return None
        if len(chain) > _MOST_PARENTS:
            self.faults.append(
                extends.place.fault(
                    f"more than {_MOST_PARENTS} recipes extend one another in a row; merge some of "
                    "them",
                    key="extends",
                )
            )
            return None
        if found in chain:
            names = " -> ".join(one.stem for one in (*chain[chain.index(found) :], found))
            self.faults.append(
                extends.place.fault(
                    f"the recipes extend each other in a circle: {names}; remove one `extends`",
                    key="extends",
                )
            )
            return None
        return self._merged(found, chain)

    def _note_origin(self, found: Path, reference: str, *, named_in: Path) -> None:
        """Record a shared recipe from another place with its commit.

        References within a repository are not recorded: they are at the same commit.
        """
        place, own = place_of(found), place_of(named_in)
        if place and is_hub_reference(reference):
            self.pins[reference] = str(place)
        if place and (own is None or (own.repo_id, own.commit) != (place.repo_id, place.commit)):
            self._origins.append(str(place))

    def _with_classes(self, node: Node, folder: Path) -> Node:
        """Replace the name of a class list by its classes."""
        classes = node.child("classes")
        if classes is None or not isinstance(classes.value, str) or self._refused(node, "classes"):
            return node
        home = _folder_of(classes.place, folder)
        path = find_class_list(classes.value, place=classes.place, folder=home)
        self.class_lists[path] = classes.value
        listed = _read(path)
        if not isinstance(listed.value, list):
            raise UserError(listed.place.fault("a class list must be a list of classes"))
        return Node({**node.value, "classes": listed}, node.place)

    def _combination(self, checked: Checked, file: RecipeFile, path: Path) -> ResolvedRecipe | None:
        if path in self._open:
            names = " -> ".join(one.stem for one in (*self._open, path))
            checked.add(
                f"the recipes combine each other in a circle: {names}; remove one member", "combine"
            )
            return None
        self._open.append(path)
        members = self._load_members(checked, file, path.parent)
        self._open.pop()
        name = set_name(checked, file, path.stem)
        if not members or len(members) != len(file.combine or ()):
            return None
        first = members[0]
        if file.rows:
            check_rows(checked, file, members)
        recipe = ResolvedRecipe(
            name=name,
            summary=file.summary,
            source=file.source,
            classes=first.classes,
            images_per_class=rows_per_class(file.rows, len(first.classes))
            if file.rows
            else file.images_per_class,
            sampling=first.sampling,
            model=first.model,
            output=first.output,
            combine=tuple(member.name for member in members),
            members=tuple(members),
            rows={one.name: file.rows[one.name] for one in members if one.name in file.rows},
        )
        recipe._node = checked.node
        check_members(checked, recipe)
        return recipe

    def _load_members(
        self, checked: Checked, file: RecipeFile, folder: Path
    ) -> list[ResolvedRecipe]:
        members = []
        if file.combine == ():
            checked.add("is an empty list; add at least one recipe", "combine")
        for place, reference in enumerate(file.combine or ()):
            if checked.full:
                break
            node = checked.node.find(("combine", place))
            home = _folder_of(node.place, folder)
            try:
                found = self._member(reference, node.place, home)
                self._note_origin(found, reference, named_in=home)
            except UserError as error:
                self.faults += [_with_key(fault, f"combine.{place}") for fault in error.faults]
                continue
            if found in self._open:
                names = " -> ".join(one.stem for one in (*self._open, found))
                checked.add(
                    f"the recipes combine each other in a circle: {names}; remove one member",
                    "combine",
                    place,
                )
                continue
            member = self.load(found)
            if member is not None:
                members.append(member)
        return members

    def _member(self, reference: str, place: Place, folder: Path) -> Path:
        if not self.stored:
            return _real(find_recipe(reference, place=place, folder=folder))
        path = folder / f"{reference}.yaml"
        if not (CONFIG_NAME.fullmatch(reference) and path.is_file()):
            raise UserError(place.fault(f"there is no recipe {reference!r:.80} in {folder}"))
        return _stored(path)

    def _refused(self, node: Node, key: str) -> bool:
        """Refuse a key that names another file in a stored recipe, which contains its values."""
        named = node.value.get(key)
        if not self.stored or named is None:
            return False
        self.faults.append(
            named.place.fault(
                "names another file, which is not read: a recipe stored with a dataset contains "
                "all its values; restore it, or build the dataset again",
                key=key,
            )
        )
        return True


def _folder_of(place: Place, folder: Path) -> Path:
    """Return the folder of the file that contains a value, which may be a parent's."""
    if place.path is not None:
        return place.path.parent
    # The command line belongs to the user, not to a recipe of the Hub.
    return Path() if place_of(folder) else folder


def _real(path: Path) -> Path:
    """Return one path per file; a copy from the Hub keeps the path that names its origin."""
    return path if place_of(path) else path.resolve()


def _stored(path: Path) -> Path:
    """Return the path of a stored recipe if it is inside its dataset.

    Raises:
        UserError: It is a link out of the dataset.
    """
    path = path.absolute()
    check_files([path], path.parent.parent)
    return path


def _read(path: Path) -> Node:
    return read(path, shown=shown_path(path))


def _with_key(fault: Fault, key: str) -> Fault:
    return Fault(fault.message, fault.file, fault.line, fault.column, key)
