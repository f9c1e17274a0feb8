"""`pip install ...` in the documentation: check that the project declares what is installed."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
names = {re.split(r"[\[><=]", one)[0] for lines in extras.values() for one in lines}
install, *words = sys.argv[1:]
assert install == "install", install
for word in words:
    extra = re.fullmatch(r"data-factory\[(\w+)\]", word)
    assert extra[1] in extras if extra else word in names, f"pip install {word}: not declared"
