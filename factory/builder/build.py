"""Build a dataset directory from recipes.

The lead rank checks and prepares the directory. Then all ranks generate shards until all exist, and
the lead writes manifest and card. Shards appear atomically, so a build can be stopped at any time:
the same command resumes it, and other launches can join it.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from factory.builder.auto_batch import batch_size_of
from factory.builder.costs import Costs
from factory.builder.interval_option import with_interval
from factory.builder.jobs import Job, adopt_counts, make_jobs, require_same_as_begun
from factory.builder.markers import Markers, remove_empty_folders
from factory.builder.prepare import State, judge, look_at, prepare
from factory.builder.ranks import Ranks
from factory.builder.report import BuildReport, Part
from factory.builder.start import Start
from factory.builder.worker import RankOfBuild
from factory.card.plots_ahead import plotting_ahead
from factory.common import console
from factory.common.stop_signals import stopping_on_signals
from factory.common.storage import AnyPath, answering, open_path
from factory.planner.cut_prompts import require_whole_prompts
from factory.planner.sampling_summary import sampling_line
from factory.recipe.model_checks import require_used_guidance
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.placement import require_offload
from factory.renderer.pool import RendererFactory, Renderers, pipeline_settings, text_encoders
from factory.shards.generations import Generation, newest
from factory.shards.manifest import Manifest
from factory.shards.plan_check import has_changed, plan_hash
from factory.shards.settings import BuildSettings

__all__ = ["BuildOptions", "BuildReport", "Part", "build"]


@dataclass(frozen=True)
class BuildOptions:
    """Options of one launch; they do not change the dataset's bytes.

    Attributes:
        part: Part of the shards to generate, if several independent launches divide them.
        show_progress: Whether to show a progress bar on stderr.
        allow_pickle: Whether models without safetensors may be read from pickles.
        allow_cut_prompts: Whether to accept prompts so long that the model cuts off a class name or
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
    """Generate recipes into a dataset directory that `load_dataset` reads.

    Run it again to resume a stopped build, replace damaged shards, or grow a dataset (with more
    images per class). All processes of accelerate's or torch's launcher generate together; several
    launches in one directory share the work. The bytes of the dataset are the same in every case.

    Args:
        recipes: One config each; the members of combinations are added.
        out: A directory or fsspec URL: new, or a dataset started from the same recipes.
        settings: Build settings; an existing dataset keeps its own.
        options: Options of this launch.
        show_progress: False hides the progress bar, whatever `options` contains.
        renderer_factory: Creates the renderer of a recipe; default: its diffusers model.

    Returns:
        Counts, times and failed images; the same on every rank.

    Raises:
        UserError: The user can fix it: recipes, settings, directory or model.
        Failure: Another rank failed, memory was too small, or all images of a shard failed.
        OSError: The disk is full or cannot be written.
        KeyboardInterrupt: A signal stopped the build; it can be resumed.
    """
    wanted, how = settings or BuildSettings(), options or BuildOptions()
    jobs = make_jobs([*recipes] if isinstance(recipes, Sequence) else [recipes])
    place = open_path(out)
    costs = Costs()
    with stopping_on_signals(), answering(place):
        ranks = Ranks(device=wanted.device)
        renderers = Renderers(
            renderer_factory,
            device=ranks.device,
            allow_pickle=how.allow_pickle,
            offload=wanted.offload,
        )
        with ranks.announcing_failure(), ExitStack() as stack:
            require_offload(wanted.offload, ranks.device)
            # Also if the build fails or is stopped.
            stack.callback(costs.write, place, ranks.device)
            start, generation = _prepare(place, jobs, ranks, wanted, how, renderers, stack)
            manifest = generation.written
            jobs = with_interval(jobs, manifest.settings, wanted)
            require_same_as_begun(jobs, manifest)
            if plan_hash(manifest, start.present) != start.plan:
                raise has_changed(place, "while its processes started")
            if ranks.is_lead:
                _report_sampling(jobs, manifest)
                # Only the lead does this, and only after the directory was accepted.
                stack.callback(remove_empty_folders, place)
            rank = RankOfBuild(
                place,
                adopt_counts(jobs, manifest),
                generation,
                start,
                ranks,
                Markers(place),
                renderers,
                costs,
                show_progress=show_progress and how.show_progress,
            )
            return rank.run(how.part)


def _prepare(
    out: AnyPath,
    jobs: list[Job],
    ranks: Ranks,
    wanted: BuildSettings,
    how: BuildOptions,
    renderers: Renderers,
    stack: ExitStack,
) -> tuple[Start, Generation]:
    """Prepare the directory on the lead rank; return its state on all ranks."""
    if ranks.is_lead:
        device = ranks.device.partition(":")[0]
        look = look_at(out, jobs)
        state = judge(look, jobs, wanted=wanted, device=device)
        # One of several parts does not know whether it will write the card.
        if how.part.count == 1 and any(state.unfinished()):
            stack.enter_context(plotting_ahead(_of_card(state)))
        # Errors of the model or its prompts are reported before the directory is created.
        loaded = {}
        for job in state.unfinished():
            renderer = renderers.get(job.recipe, state.settings.inference)
            encoders = text_encoders(renderer)
            require_whole_prompts(job.recipe, encoders, allowed=how.allow_cut_prompts)
            loaded[job.name] = pipeline_settings(renderer)
            require_used_guidance(job.recipe, loaded[job.name])
        automatic = batch_size_of(state, renderers) if wanted.batch_size == "auto" else None
        jobs = [replace(job, pipeline=loaded.get(job.name)) for job in jobs]
        # Loading a model takes minutes: other launches may have written their first shards.
        now = look_at(out, jobs) if loaded else look
        start, generation = prepare(
            now, jobs, wanted=wanted, device=device, judged=look, automatic=automatic
        )
        ranks.announce("prepared", start.to_text())
        return start, generation
    return Start.from_text(ranks.wait_for("prepared")), newest(out)


def _of_card(state: State) -> list[ResolvedRecipe]:
    """Return the recipes that the card will plot; none if it plots those of other builds too."""
    own = {job.name: job.recipe for job in state.jobs if job.kind == "set"}
    others = state.old.configs.keys() - {job.name for job in state.jobs} if state.old else ()
    return [] if others else [own[name] for name in sorted(own)]


def _report_sampling(jobs: Sequence[Job], manifest: Manifest) -> None:
    for job in jobs:
        if sampling := manifest.configs[job.name].sampling:
            console.log(sampling_line(job.recipe, sampling))
    console.log(f"computed with {manifest.settings.inference}")
