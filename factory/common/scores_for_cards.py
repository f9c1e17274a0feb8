"""Read and check the part of a `scores-*.json` that cards show.

`eval.scores_file` writes these files and defines all their fields.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from factory.common.errors import UserError
from factory.common.frozen import first_invalid
from factory.common.program import command
from factory.common.untrusted_files import read_json

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ScoredModel(_Part):
    """The scored model."""

    architecture: Name
    weights_sha256: Name
    epochs_done: Count | None = None
    epochs_planned: Count | None = None

    def require_finished(self, path: Path) -> None:
        """Reject a run that was scored before its last epoch.

        Raises:
            UserError: The file at `path` is of an unfinished run.
        """
        done, planned = self.epochs_done, self.epochs_planned
        if done is not None and planned is not None and done < planned:
            raise UserError(
                f"{path}: training is unfinished ({done} of {planned} epochs); finish it with "
                "the same `train` command and score it again"
            )


class ScoredOn(_Part):
    """The real images."""

    name: Name
    split: Name | None = None
    num_images: Count


class Top1(_Part):
    """Accuracy with its 95 % interval."""

    top1: Share
    top1_low: Share
    top1_high: Share


class TrainedOn(_Part):
    """Training rows of a run, from its `config.yaml`."""

    config_name: Name | None = None
    label_names: list[Name]
    num_images: Count
    row_filter: Name | None = None


class Training(_Part):
    """The run of the weights."""

    seed: int = Field(ge=0, lt=2**63)
    data: TrainedOn


class ScoreFile(_Part):
    """Scores of one model on one real dataset; values are fractions in [0, 1]."""

    format: Literal["data-factory/scores"]
    format_version: Literal[1]
    model: ScoredModel
    real: ScoredOn
    metrics: Top1
    training: Any = None

    def trained(self, path: Path) -> Training:
        """Return the model's training run.

        Raises:
            UserError: The file at `path` does not contain it.
        """
        if self.training is None:
            raise UserError(
                f"{path}: does not name the training data of its model; train it with `train`"
            )
        try:
            return Training.model_validate(self.training)
        except ValidationError as error:
            raise _damaged(path, error, "training.") from None


def read_score_file(path: Path) -> ScoreFile:
    """Read a scores file.

    Raises:
        UserError: It is missing, not JSON, not a scores file of this version, or damaged.
    """
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != "data-factory/scores":
        raise UserError(f"{path}: contains no scores; name a scores-*.json of `{command('score')}`")
    if found.get("format_version") != 1:
        version = str(found.get("format_version"))[:40]
        raise UserError(
            f"{path}: has format {version}, but this version reads format 1; score the run again"
        )
    try:
        return ScoreFile.model_validate(found)
    except ValidationError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: ValidationError, prefix: str = "") -> UserError:
    return UserError(f"{path}: is damaged ({prefix}{first_invalid(error)}); score the run again")
