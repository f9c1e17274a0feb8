"""The recipes of a round: of its candidates, and of the config that contains the chosen ones."""

from collections.abc import Sequence
from pathlib import Path

from factory.common.errors import UserError
from factory.common.program import command
from factory.common.yaml_reader import MAX_BYTES
from factory.data.columns import CONFIG_NAME
from factory.recipe.library import load_stored_recipe
from factory.recipe.resolved import ResolvedRecipe, dump_yaml, plain_recipe
from factory.recipe.row_ranges import ranges_of, write_ranges


def root_of(grown: ResolvedRecipe) -> ResolvedRecipe:
    """Return the config that the rounds began with."""
    return grown.members[0] if grown.rows else grown


def number_of(out: Path, grown: ResolvedRecipe) -> int:
    """Return the number of the next round of a config.

    Raises:
        UserError: It is a combination that is no round.
    """
    number = len(grown.members) or 1
    if not grown.is_combination:
        return 1
    if grown.rows and grown.name == f"{root_of(grown).name}-round-{number - 1}":
        return number
    raise UserError(
        f"{out}: {grown.name} is a combination; name a config with its own images, or a round that "
        f"`{command('grow')}` has made"
    )


def candidates_name(grown: ResolvedRecipe, number: int) -> str:
    """Return the name of the config with the candidates of a round."""
    return f"{root_of(grown).name}-candidates-{number}"


class RoundRecipes:
    """Recipe files of a round: the config to grow, with its members, and the new ones."""

    def __init__(self, folder: Path, grown: ResolvedRecipe) -> None:
        """Write the existing recipes into a new folder."""
        self._folder, self._grown = folder, grown
        folder.mkdir()
        for one in (*grown.members, grown):
            self.path(one.name).write_text(one.to_yaml(), encoding="utf-8")

    def path(self, name: str) -> Path:
        """Return the file of a recipe."""
        return self._folder / f"{name}.yaml"

    def candidates(self, number: int, images_per_class: int) -> str:
        """Write the recipe of the candidates; return its name.

        Another name samples other values; shared noise depends on the seed alone.

        Raises:
            UserError: The name is too long for a config.
        """
        root = root_of(self._grown)
        name = candidates_name(self._grown, number)
        if not CONFIG_NAME.fullmatch(name):
            raise UserError(f"{name}: is too long for a config; give {root.name} a shorter `name`")
        values = plain_recipe(root) | {
            "name": name,
            "summary": f"Candidates of round {number} of {root.name}.",
            "images_per_class": images_per_class,
        }
        values["sampling"] |= {"seed": (root.sampling.seed + number) % 2**63}
        values.pop("same_images_as", None)
        self.path(name).write_text(dump_yaml(values), encoding="utf-8")
        return name

    def round(
        self, name: str, candidates: str, chosen: Sequence[int], *, source: str
    ) -> ResolvedRecipe:
        """Write and return the recipe of the round.

        Raises:
            UserError: The list of images is too long for a recipe.
        """
        grown = self._grown
        rows = dict(grown.rows) or {grown.name: ((0, grown.num_images - 1),)}
        rows[candidates] = ranges_of(sorted(chosen))
        values = {
            "name": name,
            "summary": f"{grown.name}, and candidates that a classifier is least sure of.",
            "source": source,
            "combine": list(rows),
            "rows": {member: write_ranges(one) for member, one in rows.items()},
        }
        text = dump_yaml(values)
        if len(text.encode()) > MAX_BYTES:
            raise UserError(
                f"{name}: the list of its images is {len(text):,} bytes long; the limit for "
                f"recipes is {MAX_BYTES:,}: keep fewer candidates"
            )
        self.path(name).write_text(text, encoding="utf-8")
        return load_stored_recipe(self.path(name))
