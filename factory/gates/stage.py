"""Stage new shards beside the old ones and list them in one step.

All shards with new columns are written to a hidden folder of the dataset that belongs to this pass.
Then they get new file names, and a new generation lists them: only this step changes the dataset,
and it fails if another process has changed it since the pass started. An interrupted pass is
resumed; readers never see a partly changed dataset.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from factory.builder.tidy import old_stages, remove_left_over
from factory.card.reader_files import publish
from factory.common.errors import Failure
from factory.common.local_paths import STAGES
from factory.common.storage import remove_if_empty, sync_folder, write_bytes
from factory.shards.directory import Look
from factory.shards.generations import Generation, latest, newest, replace
from factory.shards.layout import key_of, number_of, shard_file
from factory.shards.manifest import Manifest, ShardEntry


@dataclass(frozen=True)
class Stage:
    """The hidden folder of a pass.

    Attributes:
        out: Dataset directory.
        base: The generation the pass reads.
        name: Name of the pass: number of its generation, and a hash of the manifests before and
            after.
    """

    out: Path
    base: Generation
    name: str

    @classmethod
    def of(cls, out: Path, base: Generation, changed: Manifest) -> Stage:
        """Return the stage of a pass; the same pass over the same files has the same stage."""
        plan = json.dumps([one.model_dump(mode="json") for one in (base.written, changed)])
        return cls(out, base, f"{base.number}-{key_of(plan)}")

    def path(self, file: str) -> Path:
        """Return the path of a shard's new form; `file` as in the manifest."""
        return self.out / STAGES / self.name / file

    def require_current(self) -> None:
        """Check that the dataset is still the one that the pass reads.

        Raises:
            Failure: The dataset has changed.
        """
        if latest(self.out) != self.base.number:
            raise self.changed()

    def changed(self) -> Failure:
        """Return the error of a pass whose dataset has changed meanwhile."""
        return Failure(
            f"{self.out}: another process changed this dataset while its rows were measured; "
            "nothing was overwritten; run the same command again"
        )

    def put_in_place(self, manifest: Manifest) -> None:
        """Replace the dataset's shards by the staged ones.

        Args:
            manifest: Manifest with the current shard names and the hashes of the staged files.

        Raises:
            Failure: The dataset was changed since the pass started.
        """
        files = self._names(manifest)
        wanted = _renamed(manifest, files)
        try:
            is_mine = self._replace(files, wanted)
        except (Failure, FileNotFoundError):
            # Staged files disappear if another process finishes the same pass.
            is_mine = False
        if not is_mine:
            self._give_up(files, wanted)
        publish(self.out, card=True)
        remove_left_over(Look.at(self.out, newest(self.out)))
        self.discard()

    def _replace(self, files: Mapping[str, str], wanted: Manifest) -> bool:
        """Link the staged shards and create the generation that lists them; False if too late."""
        for old, new in files.items():
            self.require_current()
            if new != old:
                _link(self.path(old), self.out / new)
        for folder in {(self.out / file).parent for file in files.values()}:
            sync_folder(folder)
        if wanted == self.base.manifest:
            return True
        return replace(self.out, self.base, wanted, recipes={}) is not None

    def _names(self, manifest: Manifest) -> dict[str, str]:
        """Return the shards' new names by their old ones; unchanged bytes keep the name."""
        base = self.base.written.configs
        return {
            shard.file: shard.file if shard == before else self._name(name, shard)
            for name, entry in manifest.configs.items()
            for shard, before in zip(entry.shards, base[name].shards, strict=True)
        }

    def _give_up(self, files: Mapping[str, str], wanted: Manifest) -> None:
        """Remove the unused files; their names are never used again."""
        now = newest(self.out).manifest
        if now == wanted:
            return
        listed = {shard.file for one in now.configs.values() for shard in one.shards} if now else ()
        for old, new in files.items():
            if new != old and new not in listed:
                (self.out / new).unlink(missing_ok=True)
        self.discard()
        raise self.changed()

    def discard(self) -> None:
        """Remove staged files of this pass and of earlier ones that can no longer succeed."""
        for stage in (self.out / STAGES / self.name, *old_stages(self.out, latest(self.out))):
            shutil.rmtree(stage, ignore_errors=True)
        remove_if_empty(self.out / STAGES)

    def _name(self, config: str, shard: ShardEntry) -> str:
        """Return a name that no earlier pass has used."""
        number = number_of(shard.file)
        assert number is not None, "a finished dataset lists shards"
        what = f"{self.name} {shard.sha256}"
        return shard_file(config, number, key_of(what))


def _link(staged: Path, final: Path) -> None:
    with suppress(FileExistsError):
        try:
            final.hardlink_to(staged)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:
            # A file system without hard links.
            write_bytes(final, staged.read_bytes(), exclusive=True)


def _renamed(manifest: Manifest, files: Mapping[str, str]) -> Manifest:
    configs = {
        name: entry.model_copy(
            update={
                "shards": tuple(
                    shard.model_copy(update={"file": files[shard.file]}) for shard in entry.shards
                )
            }
        )
        for name, entry in manifest.configs.items()
    }
    return manifest.model_copy(update={"configs": configs})
