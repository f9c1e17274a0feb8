"""Simple mistakes are reported before any large library is imported."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from factory.common.errors import UserError
from factory.data.early_checks import check_rows
from factory.models.timm_names import SUFFIX, registered_names
from train.optimizer import check_optimizer
from train.policies import check_policy
from train.settings import Augmentation, Hyperparameters
from train.trackers import check_trackers

ROOT = Path(__file__).parent.parent
# Importing one of these takes seconds.
LARGE = ("torch", "timm", "datasets", "transformers", "diffusers", "accelerate", "sklearn")
CODE = f"""
import json, sys
from factory.command_line.cli import main
from factory.common.errors import UserError
said = []
for words in json.load(sys.stdin):
    try:
        main(words)
        said.append("nothing")
    except UserError as error:
        said.append(str(error))
    except (Exception, SystemExit) as error:
        said.append(repr(error))
    for name in {LARGE!r}:
        if name in sys.modules:
            said[-1] = f"imports {{name}}"
print(json.dumps(said))
"""
UNTIL_TORCH = """
import sys
class Ends:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.exit(9)
sys.meta_path.insert(0, Ends())
from factory.command_line.cli import main
main()
"""
MANIFEST = {
    "format": 1,
    "labels": ["a", "b"],
    "configs": {},
    "variables": {},
    "device": "cpu",
    "settings": {
        "batch_size": 1,
        "shard_size": 1,
        "dtype": "float32",
        "threads": 1,
        "device": "cpu",
    },
    "versions": [],
}
GAP = "gap set --real set --model test_resnet --out new"
MISTAKES = {
    "train nosuch --model test_resnet --out new": "nosuch: directory not found",
    "train set --config smal --model test_resnet --out new": "set: no config 'smal'; did you mean",
    "train set --split tset --model test_resnet --out new": "set: no split 'tset'; it has: train",
    "train set --filter 'a >' --model test_resnet --out new": "--filter 'a >': invalid syntax",
    "train set --split train --label-column lable --model test_resnet --out new": "set: no column "
    "'lable'; did you mean label?",
    "train set --real-train nosuch --model test_resnet --out new": "nosuch: directory not found",
    "train set --real-train two --model test_resnet --out new": "two: has several configs (small, "
    "large); --real-train cannot choose one: give a dataset with one config",
    "train set --stream --model test_resnet --out new": "set: --stream reads datasets of the Hub",
    "train set --model test_resnte --out new": "--model test_resnte: timm has no such model; did",
    "train set --model local-dir:no --pretrained --out new": "local-dir:no: no such run folder",
    "train set --model test_resnet --preset qick --out new": "--preset qick: expected",
    "train set --model test_resnet --lr -1 --out new": "--lr -1: expected more than 0",
    "train set --model test_resnet --pixel-memory -1 --out new": "--pixel-memory -1: expected",
    "train set --model test_resnet --opt adanww --out new": "--opt adanww: timm has no such "
    "optimiser; did you mean",
    "train set --model test_resnet --opt x --out new": "--opt x: timm has no such optimiser; use",
    "train set --model test_resnet --aa orginal-m9 --out new": "--aa orginal-m9: timm has no such "
    "policy; did you mean original?",
    "train set --model test_resnet --aa x --out new": "--aa x: timm has no such policy; use e.g.",
    "train set --model test_resnet --aa rand-m99x --out new": "--aa rand-m99x: timm has no such "
    "policy (invalid literal",
    "train set --model test_resnet --log-with wand --out new": "--log-with wand: unknown tracker; "
    "did you mean wandb",
    "train set --model test_resnet --log-with clearml --out new": "--log-with clearml: is not "
    "installed; pip install clearml",
    "train set --model test_resnet --out set": "set: is not a run folder",
    "train set --model test_resnet --out run": "run: contains another run, which differs in model",
    "train set --model test_resnet --weights no.pt --out new": "--weights no.pt: file not found",
    "train set --model test_resnet --teacher ./no --out new": "--teacher ./no: no such run folder",
    "score nosuch --real set": "nosuch: no such run folder",
    "score run --real set": "run: contains no config.json",
    "score run --real nosuch": "nosuch: directory not found",
    "score run --real set --split tset": "set: no split 'tset'; it has: train",
    "score run --real set --real-name 'a b'": "--real-name a b: use letters",
    "predict nosuch photo.png": "nosuch: no such run folder",
    "predict nosuch.onnx photo.png": "nosuch.onnx: no such ONNX file",
    "export nosuch --onnx new.onnx": "nosuch: no such run folder",
    "gate nosuch --near-duplicates": "nosuch: directory not found",
    "gate generated --clip-score ./no": "--clip-score ./no: cannot be loaded (no such directory)",
    "report nosuch --real set": "nosuch: directory not found",
    "gap set --real nosuch --model test_resnet --out new": "nosuch: directory not found",
    "gap nosuch --real set --model test_resnet --out new": "nosuch: directory not found",
    "gap set --real set --run nosuch --out new": "nosuch: no such run folder",
    "gap set --real set --model test_resnte --out new": "--model test_resnte: folder not found",
    f"{GAP} --real-image-column img": "set: no column 'img'; did you mean image?",
    f"{GAP} --syn-label-column class": "set: no column 'class'; it has: image, label",
    f"{GAP} --images 19": "--images 19: expected 20 or more, as many for each class",
    "score run --real set --label-column lable": "set: no column 'lable'; did you mean label?",
    "score named --real set --labels map.yaml": "map.yaml: dog: named has no class 'cta'; did you "
    "mean 'cat'",
    "train photos --label-column class --model test_resnet --out new": "photos: no column 'class'; "
    "it has: image, label",
    "score run --real photos --label-column lable": "photos: no column 'lable'; did you mean label",
    "clip --model ./no --real set": "--model ./no: cannot be loaded (no such directory)",
    "study study.yaml out --real a=nosuch": "nosuch: directory not found",
    # A message names the option, or the key of the study, that chooses these rows.
    "score run --real set --filter 'a >'": "--filter 'a >': invalid syntax",
    "score run --real two": "two: name one of its configs with --config: small, large",
    "clip --model ./no --real set --filter 'a >'": "--filter 'a >': invalid syntax",
    f"{GAP} --real-filter 'a >'": "--real-filter 'a >': invalid syntax",
    f"{GAP} --syn-filter 'a >'": "--syn-filter 'a >': invalid syntax",
    f"{GAP} --other set --other-filter 'a >'": "--other-filter 'a >': invalid syntax",
    f"{GAP} --other two": "two: name one of its configs with --other-config: small, large",
    "study real.yaml out": "sets.a.real.filter 'a >': invalid syntax",
    "study real.yaml out --real a=set": "sets.a.reference.filter 'b >': invalid syntax",
    "study real.yaml out --real a=two": "two: name one of its configs with sets.a.real.config: ",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what the mistakes are made with."""
    folder = tmp_path_factory.mktemp("mistakes")
    files = "data_files: [{split: train, path: a.parquet}]"
    small, large = (f"{{config_name: {name}, {files}}}" for name in ("small", "large"))
    for name, configs in (("set", small), ("two", f"{small}, {large}")):
        (folder / name).mkdir()
        pq.write_table(pa.table({"image": [b""], "label": [0]}), folder / name / "a.parquet")
        (folder / name / "README.md").write_text(f"---\nconfigs: [{configs}]\n---\n")
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text("model: resnet18\n")
    (folder / "photos" / "cat").mkdir(parents=True)
    for photo in ("photo.png", "photos/cat/a.png"):
        Image.new("RGB", (8, 8)).save(folder / photo)
    (folder / "named").mkdir()
    config = {"architecture": "test_resnet", "num_classes": 1, "label_names": ["cat"]}
    (folder / "named" / "config.json").write_text(json.dumps(config))
    (folder / "named" / "model.safetensors").write_bytes(b"")
    (folder / "map.yaml").write_text("dog: cta\n")
    real = ", real: {dataset: set, filter: a >}, reference: {dataset: set, filter: b >}"
    for name, images in (("study", ""), ("real", real)):
        (folder / f"{name}.yaml").write_text(
            "title: A study\nmodels: [test_resnet]\nseeds: [0]\npreset: quick\n"
            f"sets: {{a: {{recipes: [quickstart/base-class], images_per_class: 1{images}}}}}\n"
        )
    (folder / "generated").mkdir()
    (folder / "generated" / "manifest.json").write_text(json.dumps(MANIFEST))
    return folder


def python(
    code: str, *words: str, folder: Path, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder."""
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        input=given,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, str]:
    """The answer to each mistake, from a process that names the large libraries it imports."""
    given = json.dumps([shlex.split(line) for line in MISTAKES])
    done = python(CODE, folder=folder, given=given)
    return dict(zip(MISTAKES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize(
    ("line", "before"),
    [
        ("build quickstart/base-class out", ""),
        ("train set --model test_resnet --out new", "training test_resnet on set: new\n"),
    ],
)
def test_a_line_says_that_libraries_are_loaded_before_they_are(
    line: str, before: str, quiet: bool, folder: Path
) -> None:
    words = [*shlex.split(line), *(["--quiet"] if quiet else [])]
    done = python(UNTIL_TORCH, *words, folder=folder)
    assert done.returncode == 9
    assert done.stderr == before + ("" if quiet else "loading the libraries\n")


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_reported_before_large_libraries_are_imported(
    line: str, said: dict[str, str]
) -> None:
    assert said[line].startswith(MISTAKES[line])


def test_names_of_the_libraries_are_accepted_before_they_are_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from timm.optim import list_optimizers

    optimizers, known = list_optimizers(), {str(name) for name in LOGGER_TYPE_TO_CLASS}
    for library in ("timm", "accelerate.tracking"):
        monkeypatch.delitem(sys.modules, library)
    values = Hyperparameters(epochs=1, batch_size=2, lr=1)
    for name in [*optimizers, "Lookahead_AdamW"]:
        check_optimizer(values.model_copy(update={"opt": name}))
    for policy in ("rand-m9", "augmix-m5-w4", "original-mstd0.5", "originalr", "v0", "v0r", "3a"):
        check_policy(values.model_copy(update={"augmentation": Augmentation(aa=policy)}))
    assert "timm" not in sys.modules
    # A package may be a tracker of another version; accelerate decides.
    check_trackers([*get_available_trackers(), object(), "yaml"])
    for name in known:
        monkeypatch.setattr("train.trackers.find_spec", lambda package, name=name: package == name)
        check_trackers([name])
    monkeypatch.setattr("train.trackers.find_spec", lambda package: package == "tensorboardX")
    check_trackers(["tensorboard"])


def test_names_of_models_are_those_of_timm() -> None:
    import timm

    # Tests of small stems may have registered some of ours.
    known = {name for name in timm.list_models() if not name.endswith(SUFFIX)}
    assert set(registered_names()) == known


@pytest.mark.parametrize(
    ("paths", "more"),
    [
        (["train/metadata.parquet", "train/*.png"], ""),
        (["a.parquet"], "  data_dir: data\n"),
    ],
)
def test_columns_of_other_files_are_not_judged(tmp_path: Path, paths: list[str], more: str) -> None:
    """`metadata.parquet` adds columns to images, and `data_dir` is where the files are."""
    places = {"data/a.parquet": ["image", "label"], "a.parquet": ["other"]}
    for place, columns in (places | {"train/metadata.parquet": ["file_name"]}).items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({one: ["x"] for one in columns}), tmp_path / place)
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n{more}  data_files:\n  - split: train\n"
        f"    path: {json.dumps(paths)}\n---\n"
    )
    check_rows(tmp_path, columns=("image", "label"))
    if more:
        with pytest.raises(UserError, match="no column 'other'; it has: image, label"):
            check_rows(tmp_path, columns=("other",))
