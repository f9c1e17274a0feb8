"""`factory recipes`: list, show, compare and share packaged and shared recipes."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from factory.cli import models
from factory.common.console import log, table, write, write_json
from factory.common.errors import UserError
from factory.common.options import PUSH_FIELDS, add_dry_run, add_json, add_publication, option
from factory.common.program import command
from factory.common.text import plural
from factory.hub.recipe_references import is_hub_reference, place_of
from factory.recipe.library import list_recipes, load_recipe
from factory.recipe.paths import find_recipe, recipe_files

_REFERENCE = "name such as quickstart/base-class, file, or hf://datasets/ORG/NAME[@REVISION][/PATH]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    models.add_arguments(
        actions.add_parser("models", help="list the models that --model accepts by name")
    )
    lists = actions.add_parser("list", help="list names and summaries")
    lists.add_argument(
        "reference",
        nargs="?",
        metavar="REFERENCE",
        help="repository, hf://datasets/ORG/NAME[@REVISION] (default: the packaged recipes)",
    )
    add_json(lists, "recipes (each with name, summary); of a repository also commit, tags")
    show = actions.add_parser("show", help="print one recipe")
    show.add_argument("name", metavar="RECIPE", help=_REFERENCE)
    option(show, "--resolved", "with all defaults filled in, as it would be built")
    diff = actions.add_parser("diff", help="list the differences of two recipes or folders")
    diff.add_argument("left", metavar="A", help=_REFERENCE)
    diff.add_argument("right", metavar="B", help="the same")
    add_json(diff, "same, changes; of folders: as `diff`")
    pull = actions.add_parser(
        "pull", help="copy shared recipes into a folder and pin their references"
    )
    pull.add_argument(
        "reference", metavar="REFERENCE", help="hf://datasets/ORG/NAME[@REVISION][/PATH]"
    )
    pull.add_argument("folder", type=Path, metavar="FOLDER", help="destination")
    option(pull, "--replace", "replace existing files")
    _add_push(actions.add_parser("push", help="share a folder of recipes in a repository"))


def _add_push(push: argparse.ArgumentParser) -> None:
    push.add_argument("folder", metavar="FOLDER", help="folder of recipes, or a packaged one")
    push.add_argument("repo_id", metavar="ORG/NAME", help="dataset repository; created if missing")
    option(push, "--name NAME", "name in the repository (default: the folder's name)")
    add_publication(push)
    add_dry_run(push)
    add_json(push, PUSH_FIELDS)


def run(args: argparse.Namespace) -> None:
    """Run the chosen action."""
    actions = {
        "list": _list,
        "models": models.run,
        "show": _show,
        "diff": _diff,
        "pull": _pull,
        "push": _push,
    }
    actions[args.action](args)


def _list(args: argparse.Namespace) -> None:
    if args.reference is None:
        _write_list(args, {"recipes": list_recipes()})
        return
    if not is_hub_reference(args.reference):
        raise UserError(
            f"{args.reference}: `{command('recipes list')}` takes hf://datasets/ORG/NAME or no "
            "argument"
        )
    from factory.sharing.pull_recipes import list_shared

    found = list_shared(args.reference)
    if not args.json:
        tags = [f"{tag} ({commit[:12]})" for tag, commit in sorted(found.tags.items())]
        write(f"{found.repo_id} at {found.commit}; tags: {', '.join(tags) or 'none'}")
    place = {"repo_id": found.repo_id, "commit": found.commit, "tags": dict(found.tags)}
    _write_list(args, {**place, "recipes": found.recipes})


def _write_list(args: argparse.Namespace, found: dict[str, Any]) -> None:
    rows = [(one.name, one.summary) for one in found["recipes"]]
    if args.json:
        recipes = [{"name": name, "summary": summary} for name, summary in rows]
        write_json({**found, "recipes": recipes})
    else:
        write(table(rows, header=("recipe", "summary")))


def _show(args: argparse.Namespace) -> None:
    if args.resolved:
        write(load_recipe(args.name).to_yaml().rstrip("\n"))
        return
    path = find_recipe(args.name)
    if path.is_dir():
        names = ", ".join(file.stem for file in recipe_files(path))
        raise UserError(
            f"{args.name} is a folder of recipes; `recipes show` takes one recipe: "
            f"{args.name}/NAME, with NAME one of {names}"
        )
    text = path.read_text(encoding="utf-8")
    place = place_of(path)
    if place is not None:
        from factory.recipe.remote import is_printable

        if not is_printable(text):
            raise UserError(f"{place.shown}: contains control characters; not printed")
        log(str(place))
    write(text.rstrip("\n"))


def _diff(args: argparse.Namespace) -> None:
    from factory.cli import diff
    from factory.inspection.diff import recipe_changes

    if any(find_recipe(reference).is_dir() for reference in (args.left, args.right)):
        both = argparse.Namespace(
            before=args.left, after=args.right, json=args.json, exit_code=False
        )
        diff.run(both)
        return
    # Two recipes are compared even if their names differ.
    changes = list(recipe_changes(load_recipe(args.left), load_recipe(args.right)))
    if args.json:
        write_json({"same": not changes, "changes": [asdict(change) for change in changes]})
        return
    for change in changes:
        write(diff.change_line(change))
    if not changes:
        write(f"{args.left} and {args.right} are the same")


def _pull(args: argparse.Namespace) -> None:
    from factory.sharing.pull_recipes import pull

    for path in pull(args.reference, args.folder, replace=args.replace):
        write(str(path))
    write(f"next: {command(f'plan {args.folder}')}; {command(f'build {args.folder} OUT')}")


def _push(args: argparse.Namespace) -> None:
    from factory.sharing.push_recipes import push_recipes

    shared, report = push_recipes(
        args.folder,
        args.repo_id,
        name=args.name,
        revision=args.revision,
        private=args.private,
        tag=args.tag,
        message=args.commit_message,
        dry_run=args.dry_run,
    )
    if args.json:
        write_json(report.as_dict())
        return
    plan, where = report.plan, report.target.url
    if args.dry_run:
        changed = [
            *(f"send    {path}" for path in plan.add),
            *(f"remove  {p}" for p in plan.delete),
        ]
        write("\n".join([f"{where}: nothing was changed (--dry-run)", *changed]))
        return
    revision = report.tag or str(report.commit)
    made = "committed" if report.committed else "up to date"
    write(f"{where}: {made} at {str(report.commit)[:12]}, {plural(len(shared.entries), 'recipe')}")
    place = f"hf://datasets/{report.target.repo_id}@{revision}/{shared.name}"
    write(f"next: {command(f'plan {place}')}")
