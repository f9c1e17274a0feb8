"""Check combinations: their members, and the images they take from each."""

from factory.recipe.checks import Checked
from factory.recipe.resolved import ResolvedRecipe, equal_shares
from factory.recipe.row_ranges import Ranges, count_per_class
from factory.recipe.schema import RecipeFile


def check_members(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check that members are different configs with own images, enough for an equal share."""
    names: set[str] = set()
    for place, member in enumerate(recipe.members):
        if member.is_combination:
            checked.add(f"'{member.name}' is a combination; name its members", "combine", place)
        if member.name in names:
            checked.add(f"'{member.name}' occurs twice; remove one", "combine", place)
        names.add(member.name)
    if recipe.images_per_class is None or recipe.rows:
        return
    shares = equal_shares(recipe.images_per_class, len(recipe.members))
    for place, (member, share) in enumerate(zip(recipe.members, shares, strict=True)):
        if share > (member.images_per_class or share):
            checked.add(
                f"takes {share} images per class of '{member.name}', which has "
                f"{member.images_per_class}; lower images_per_class",
                *("combine", place),
            )


def check_rows(checked: Checked, file: RecipeFile, members: list[ResolvedRecipe]) -> None:
    """Check the key `rows` of a combination: known members and existing images."""
    if file.images_per_class is not None:
        checked.add("conflicts with `rows`, which lists the images; remove it", "images_per_class")
    own = {member.name: member for member in members}
    for name in file.rows.keys() - own.keys():
        checked.add(f"no member is named '{name}'; members: {', '.join(own)}", "rows", name)
    for name, member in own.items():
        if name not in file.rows:
            checked.add(f"lists no images of '{name}'; add them, or remove the member", "rows")
        elif file.rows[name][-1][1] >= member.num_images:
            checked.add(
                f"takes image {file.rows[name][-1][1]} of '{name}', which has "
                f"{member.num_images:,} (from 0); list existing images",
                *("rows", name),
            )


def rows_per_class(rows: dict[str, Ranges], num_classes: int) -> int | None:
    """Return the listed images per class; None if classes have different numbers."""
    counts = set(count_per_class(rows.values(), num_classes))
    return counts.pop() if len(counts) == 1 else None
