"""The commands of `eval`, one module of `eval.commands` each."""

from collections.abc import Sequence

from factory.common.commands import Command, run_command
from factory.common.program import start_of

_HELP = {
    "score": "Score runs on a real dataset.",
    "predict": "Ask a trained model what photos show.",
    "export": "Write a trained model as one ONNX file.",
    "table": "Tabulate scores: configs by real datasets.",
    "clip": "Score a CLIP or SigLIP model zero-shot on a real dataset.",
    "gap": "Measure and plot the gap between synthetic and real images.",
    "view": "Browse the images of a dataset in a local web page.",
    "to-fiftyone": "Write a dataset as a folder that FiftyOne imports.",
    "report": "Write one HTML page about a dataset and its scored runs.",
    "study": "Generate, train, score and report a study described in one file.",
    "label": "Make a labelled dataset from captioned real images, for reference rows.",
    "digits": "Write 1,797 real handwritten digits as a test set.",
}
COMMANDS = {
    name: Command(f"eval.commands.{name.replace('-', '_')}", text) for name, text in _HELP.items()
}


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run one command; `arguments` defaults to `sys.argv[1:]`."""
    return run_command(
        {"commands": COMMANDS},
        arguments,
        start=start_of("eval"),
        description="Score trained models on real images, tabulate the scores, and ask models "
        "about photos.",
    )
