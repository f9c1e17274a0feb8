"""Short recipes for tests, and a function that writes them."""

from pathlib import Path

BASE = """\
classes: [cat, dog]
images_per_class: 2
prompt: "a {class}"
model: {id: embedded}
"""


def write(folder: Path, **texts: str) -> Path:
    """Write one recipe per keyword and return the folder; `_` in names stands for `-`."""
    for name, text in texts.items():
        (folder / f"{name.replace('_', '-')}.yaml").write_text(text, encoding="utf-8")
    return folder
