"""How the code blocks of the documentation run in a test: smaller, in a prepared folder.

A block that is neither run nor listed in `NOT_RUN` fails the test, and so does an entry here that
fits no block.
"""

from __future__ import annotations

import re

# A generator with random weights, which makes noise quickly.
_MODEL = "--model ORG/tiny --set sampling.num_inference_steps=2"
_BUILD = f"--images-per-class 2 {_MODEL} --allow-cut-prompts"
# Regular expressions and their replacements, applied in order to every block that runs.
TINY = (
    (r"\b(data-factory|factory) build\b", rf"\1 build {_BUILD}"),
    (r"data-factory build\b", r"\g<0> --processes 1"),
    (r"--images-per-class (200|5000)\b", "--images-per-class 3"),
    (r"--images-per-class (\d\d+|N)\b", "--images-per-class 2"),
    (r"data-factory preview\b", rf"\g<0> {_MODEL}"),
    (r"(?<!doctor )--model (embedded|CompVis/stable-diffusion-v1-4)", "--model ORG/tiny"),
    (r"--sampling model", ""),
    (r"(-m|data-factory) train\b(?! *\.)", r"\1 train --epochs 1"),
    (r"--epochs \d+", "--epochs 1"),
    (r"train\.generator digits", r"\g<0> --images 20"),
    (r"--model (resnet\w+|ResNet50)(?=\s)", "--model test_resnet"),
    (r"--preset (paper|as-code)\b", "--preset quick --keep-every 1"),
    (r"--threads 2\b", "--threads 1"),
    (r"--(num_processes|nproc-per-node) 8", r"--\1 2"),
    (r"--nnodes 4", "--nnodes 1"),
    (r"node-1:29500|\$head:29500", "localhost:0"),
    (r"/shared/", "shared/"),
    (r"doctor --model embedded", r"\g<0> --seconds 1"),
    (r"resnet50\.tv_in1k --pretrained --head-only --preset finetune", "test_resnet"),
    (
        r"images_per_class=10\b",
        'images_per_class=1, overrides=["sampling.num_inference_steps=4"]',
    ),
    # Takes ten seconds; test_eval_onnx.py exports, and reads the file. The next one is parsed.
    (r"data-factory export runs/pets --onnx pets\.onnx  .*", ""),
    (r"predict pets\.onnx", "predict runs/pets"),
    # `auto` needs 20 held-out images with correct labels.
    (r"--threshold auto\b( --data \S+)?", "--threshold 0.5"),
    # The same steps as a list, with their cost.
    (
        r"data-factory study .*",
        r"data-factory study docs/study.yaml out/study --only cifar100 --dry-run",
    ),
)

# First words of blocks that do not run, by page, with the reason. The commands of the project in
# them are parsed.
NOT_RUN = {
    "docs/quickstart.md": {
        "data-factory score out/quickstart": "runs of make quickstart; test_report.py has its own",
    },
    "docs/study.md": {
        "data-factory study docs/study.yaml OUT": "hours; test_eval_study.py runs a small study",
        "data-factory build cifar10/base-class OUT": "the hours of that study, step by step",
    },
    "docs/your-classes.md": {
        "data-factory captions": "needs a language model; test_captions.py has a tiny one",
        "data-factory train photos/split.csv": "needs weights of the Hub; docs/eval.md has others",
    },
    "docs/train.md": {
        "python docs/compare_training.py": "trains many runs; test_train_timm.py has the options",
        "compare() {": "the same",
        "python tests/model_speed.py": "measures for minutes",
    },
    "docs/eval.md": {
        "data-factory gap out/study": "needs the study's images; see test_eval_coverage.py",
        'pip install "data-factory[onnx]"': "test_eval_onnx.py has --check",
    },
    "docs/cookbook.md": {
        "python docs/measure_filter.py": "trains 72 models",
    },
    "docs/gates.md": {
        "data-factory train": "noise has issues only; test_embedding_gates.py filters images",
    },
    "docs/rounds.md": {
        "data-factory build quickstart/multi-domain": "test_rounds.py adds rounds, in the process",
        "python docs/measure_rounds.py": "trains 35 models",
    },
    "docs/view.md": {
        "data-factory view": "serves until it is stopped; test_view.py opens its page",
        "data-factory gate OUT --marks": "needs marks; test_view.py makes some and runs it",
        "data-factory to-fiftyone": "its folder is for fiftyone; test_view.py writes it",
        "python tests/view_speed.py": "a million rows",
    },
    "docs/faster.md": {
        "data-factory build RECIPE OUT --guidance-interval": "test_guidance_interval.py",
        "data-factory build RECIPE OUT --set output.compression": "test_shards.py",
        "data-factory build RECIPE OUT --model flux --cache": "test_inference.py",
        "python docs/measure_intervals.py": "measures for minutes",
        "python docs/measure_caches.py": "measures for minutes",
        "for seed in": "trains 30 models",
        "python docs/measure_png.py": "measures for a minute",
        "python docs/distill_embedded.py": "test_distill_embedded.py, in small",
        "python docs/measure_few_steps.py": "needs its datasets; test_adapters.py has a tiny one",
        "data-factory build cifar10/random-guidance": "measures for minutes",
        "python docs/compare_training.py": "trains six models",
        "pip install": "test_inference.py, where the packages are installed",
        "data-factory build RECIPE OUT --model flux --offload": "test_inference.py",
        "data-factory build RECIPE OUT --compile": "test_inference.py",
        "data-factory build RECIPE OUT --vae-slicing": "test_inference.py",
        "data-factory build RECIPE OUT --fuse-adapters": "test_adapters.py",
        "python -m tests.benchmarks.network_variants": "compiles for minutes",
    },
    "docs/design.md": {"python tests/overlap.py": "measures for minutes with eight launches"},
    "docs/multi-node.md": {
        "hf buckets create": "rents machines",
        "pip install s3fs": "needs an object store; test_urls.py builds into one",
    },
    "docs/zero-shot.md": {
        "CLASSES=$(": "needs the generator's photographs; test_eval_labelled.py labels others",
        "fit() {": "trains two generators; test_generator_run.py trains a small one",
    },
    "train/generator/README.md": {
        "accelerate launch -m train.generator": "trains for hours; test_generator_run.py, in small",
        "torchrun --nproc-per-node 2": "the same",
    },
    "factory/embedded/README.md": {
        "torchrun --nproc-per-node 2": "trains for hours, see above",
    },
}

# Exit status of the only blocks whose commands are meant to fail.
STATUS = {"docs/eval.md": {"data-factory score runs/pets --real photos/other.csv --suggest": 2}}

# Names of files for data blocks that commands of their page read, by the block's first line.
FILES = {
    "docs/cookbook.md": {
        "extends: cifar10/anti-aliased\nsampling: {guidance_scale: {uniform: [1.5": "try.yaml"
    },
    "docs/zero-shot.md": {
        "name: kinds-low": "kinds-low.yaml",
        "name: kinds-domains": "kinds-domains.yaml",
        "name: both": "both.yaml",
        "name: euro-kinds": "euro-kinds.yaml",
    },
}

_PETS = """
data-factory new pets --class cat --class dog --class "guinea pig"
data-factory build pets out/pets
"""
_TRAIN = "data-factory train --model test_resnet --preset quick"
_RUN = {
    "digits": f"{_TRAIN} out/digits --config multi-domain --out runs/multi-domain\n",
    "cifar10": f"{_TRAIN} out/cifar10 --config base-class --out runs/cifar10\n",
}
_DIGITS = "data-factory build quickstart/multi-domain out/digits\n"
_CIFAR10 = "data-factory build cifar10/base-class out/cifar10\n"
_DIGITS_RUNS = f"""
{_TRAIN} out/digits --config multi-domain --out runs/digits
{_TRAIN} out/digits --config multi-domain --seed 1 --out runs/digits-2
"""
# What a page takes as given: commands of other pages, and `prepare`, see `doc_data.py`.
_REAL_CIFAR10 = "prepare dataset real-cifar10 --classes cifar10 --hub uoft-cs/cifar10\n"
_CLIP = "prepare clip clip --hub openai/clip-vit-base-patch32\n"
GIVEN = {
    "dataset_cards/cifar10.md": "data-factory build cifar10/anti-aliased out/cifar10\n",
    "docs/quickstart.md": f"data-factory digits out/quickstart/real\n{_PETS}",
    "docs/trust.md": _DIGITS,
    "docs/train.md": f"""
{_DIGITS}{_CIFAR10}{_PETS}{_REAL_CIFAR10}
prepare photos photos
cp -r real-cifar10 SET
""",
    "docs/eval.md": f"""
{_DIGITS}{_CIFAR10}{_PETS}{_DIGITS_RUNS}{_RUN["cifar10"]}{_REAL_CIFAR10}{_CLIP}
prepare photos photos
prepare dataset pets-dataset --hub ORG/NAME
data-factory train --model test_resnet --preset quick out/pets --config recommended \\
    --out runs/pets --push ORG/pets
touch -d yesterday last
""",
    "docs/gates.md": f"data-factory build quickstart/base-class OUT\n{_CLIP}",
    "docs/view.md": "data-factory build quickstart/multi-domain OUT\n",
    "docs/report.md": f"""
data-factory build quickstart/base-class OUT
data-factory digits photos/test
{_TRAIN} OUT --config base-class --out runs/base-class
data-factory score runs/base-class --real photos/test --save-predictions
""",
    "docs/your-classes.md": "prepare photos photos\n",
    "docs/hub.md": f"{_PETS}prepare dataset real --hub ORG/REAL_PETS --tag v2\n",
    "docs/sharing.md": f"""
{_DIGITS}{_RUN["digits"]}
data-factory digits DATASET
data-factory push out/digits ORG/digits --tag v1
data-factory new pets --class cat --class dog
data-factory recipes push pets ORG/recipes --tag v1
sed -i 's/an image/a photo/' pets/base-class.yaml
data-factory recipes push pets ORG/recipes --tag v2
""",
    "docs/paper.md": f"{_REAL_CIFAR10}{_CLIP}",
    "docs/zero-shot.md": """
prepare dataset REAL_CIFAR10 --classes cifar10
prepare dataset REAL_EUROSAT --classes eurosat
""",
}


def tiny(text: str) -> str:
    """Return a shell text with smaller counts and models."""
    for old, new in TINY:
        text = re.sub(old, new, text)
    return text
