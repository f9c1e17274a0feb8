"""New shards beside the old ones, put in place together.

All shards with new columns are written to a hidden folder of the set, then a manifest that names
them: from then on the pass is decided. Renaming them into place, the card and the manifest follow;
stopped anywhere, the next pass finishes or goes on. Readers never see half of a set changed, but
for the moment of the renames.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from factory.card import write_card
from factory.manifest import FILE_NAME, Manifest, read_manifest

FOLDER = ".gating"


def staged_path(out: Path, file: str) -> Path:
    """Return where the new form of a shard is written; `file` as in the manifest."""
    return out / FOLDER / file


def decide(out: Path, manifest: Manifest) -> None:
    """Write the manifest that makes the staged shards the set's."""
    manifest.write(out / FOLDER)


def put_in_place(out: Path) -> Manifest | None:
    """Finish a pass that is decided; None where none is.

    May be stopped anywhere and called again.
    """
    manifest = read_manifest(out / FOLDER)
    if manifest is None:
        return None
    for entry in manifest.configs.values():
        for shard in entry.shards:
            staged = staged_path(out, shard.file)
            if staged.is_file():
                staged.replace(out / shard.file)
    write_card(out, manifest)
    manifest.write(out)
    discard(out)
    return manifest


def discard(out: Path) -> None:
    """Remove the hidden folder: its manifest first, so that half of it is never put in place."""
    (out / FOLDER / FILE_NAME).unlink(missing_ok=True)
    shutil.rmtree(out / FOLDER, ignore_errors=True)
