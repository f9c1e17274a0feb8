"""`build`: recipes to a dataset directory.

The lead rank judges what is there and readies the directory; then all ranks make shards until none
is left; then the lead writes card and manifest. A shard exists or it does not, so a build that was
stopped anywhere goes on by being run again, and others may join it from anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from factory.builder.jobs import Job, adopt_counts, make_jobs, require_same_as_begun
from factory.builder.markers import Markers, remove_empty_folders
from factory.builder.prepare import judge, look_at, prepare
from factory.builder.ranks import Ranks
from factory.builder.report import BuildReport, Part
from factory.builder.signals import stopping_on_signals
from factory.builder.start import Start
from factory.builder.worker import RankOfBuild
from factory.common import console
from factory.common.devices import torch_threads
from factory.common.storage import AnyPath, answering, open_path
from factory.planner.cut_prompts import require_whole_prompts
from factory.planner.sampling_summary import sampling_line
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.pool import RendererFactory, Renderers, pipeline_settings, text_encoders
from factory.shards.fence import has_changed, plan_hash
from factory.shards.generations import Generation, newest
from factory.shards.manifest import Manifest
from factory.shards.settings import BuildSettings

__all__ = ["BuildOptions", "BuildReport", "Part", "build"]


@dataclass(frozen=True)
class BuildOptions:
    """How a build runs; nothing here changes a byte.

    Attributes:
        part: Which part of the shards to make, of several launches that share no group.
        show_progress: Whether to show a progress bar on stderr.
        allow_pickle: Whether models without safetensors may be read from pickles.
        allow_cut_prompts: Whether prompts may be so long that the model cuts off a class name or
            a variable's value.
    """

    part: Part = field(default_factory=Part)
    show_progress: bool = True
    allow_pickle: bool = False
    allow_cut_prompts: bool = False


def build(
    recipes: ResolvedRecipe | Sequence[ResolvedRecipe],
    out: str | Path,
    *,
    settings: BuildSettings | None = None,
    options: BuildOptions | None = None,
    show_progress: bool = True,
    renderer_factory: RendererFactory | None = None,
) -> BuildReport:
    """Draw recipes into a dataset directory that `load_dataset` reads.

    Run again, it goes on where it stopped and draws anew what is damaged; with more images a class,
    it grows the set. Started by accelerate's or torch's launcher, all processes draw together;
    started several times, the launches share the work. The bytes stay the same.

    Args:
        recipes: One config each; combinations bring their members.
        out: The directory or fsspec URL; new, or a set that was begun from the same recipes.
        settings: Build settings; those of a set that exists are taken from it.
        options: How to run.
        show_progress: False hides the progress bar, whatever `options` say.
        renderer_factory: Makes what draws a recipe; by default its diffusers model.

    Returns:
        What was done, the same on every rank; with the images that could not be drawn.

    Raises:
        UserError: something the user can mend: recipes, settings, directory, or model.
        Failure: another rank failed, memory was short, or the model drew nothing usable.
        OSError: the disk is full or cannot be written.
        KeyboardInterrupt: a signal asked to stop; the directory can be built on.
    """
    wanted, how = settings or BuildSettings(), options or BuildOptions()
    jobs = make_jobs([*recipes] if isinstance(recipes, Sequence) else [recipes])
    place = open_path(out)
    with stopping_on_signals(), answering(place):
        ranks = Ranks(device=wanted.device)
        renderers = Renderers(renderer_factory, device=ranks.device, allow_pickle=how.allow_pickle)
        with ranks.telling_failure(), ExitStack() as stack:
            start, generation = _prepare(
                place,
                jobs,
                ranks=ranks,
                wanted=wanted,
                renderers=renderers,
                allow_cut_prompts=how.allow_cut_prompts,
            )
            manifest = generation.written
            require_same_as_begun(jobs, manifest)
            if plan_hash(manifest, start.present) != start.plan:
                raise has_changed(place, "while its processes started")
            if ranks.is_lead:
                _report_sampling(jobs, manifest)
                # Of the lead alone, and only of a directory that was accepted.
                stack.callback(remove_empty_folders, place)
            rank = RankOfBuild(
                place,
                adopt_counts(jobs, manifest),
                generation,
                start,
                ranks,
                Markers(place),
                renderers,
                show_progress=show_progress and how.show_progress,
            )
            with torch_threads(manifest.settings.threads):
                return rank.run(how.part)


def _prepare(
    out: AnyPath,
    jobs: list[Job],
    *,
    ranks: Ranks,
    wanted: BuildSettings,
    renderers: Renderers,
    allow_cut_prompts: bool,
) -> tuple[Start, Generation]:
    """Let the lead ready the directory; return its state as all ranks must know it."""
    if ranks.is_lead:
        device = ranks.device.type
        look = look_at(out, jobs)
        state = judge(look, jobs, wanted=wanted, device=device)
        # A model that cannot be loaded or cannot read its prompts is reported before a directory is
        # begun.
        loaded = {}
        for job in state.unfinished():
            renderer = renderers.get(job.recipe, dtype=state.settings.dtype)
            encoders = text_encoders(renderer)
            require_whole_prompts(job.recipe, encoders, allowed=allow_cut_prompts)
            loaded[job.name] = pipeline_settings(renderer)
        jobs = [replace(job, pipeline=loaded.get(job.name)) for job in jobs]
        if loaded:
            # Loading a model takes minutes: other launches may have written their first shards.
            look = look_at(out, jobs)
        start, generation = prepare(look, jobs, wanted=wanted, device=device)
        ranks.announce("prepared", start.to_text())
        return start, generation
    return Start.from_text(ranks.wait_for("prepared")), newest(out)


def _report_sampling(jobs: Sequence[Job], manifest: Manifest) -> None:
    for job in jobs:
        if sampling := manifest.configs[job.name].sampling:
            console.log(sampling_line(job.recipe, sampling))
