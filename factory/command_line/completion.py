"""`completion SHELL`: print a script for a shell that completes commands and options."""

import argparse
import shutil
import sys

from factory.common.errors import UserError
from factory.common.program import NAME, command

_EPILOG = """\
bash: {start} bash > ~/.local/share/bash-completion/completions/{name}
zsh:  {start} zsh > DIRECTORY_IN_FPATH/_{name}
fish: {start} fish > ~/.config/fish/completions/{name}.fish
"""
_NOT_ON_PATH = """
{name} is not on the PATH, and the scripts complete only this name. Activate the environment it is
installed in, or add the folder of the installed program to the PATH.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG.format(start=command("completion"), name=NAME)
    if shutil.which(NAME) is None:
        parser.epilog += _NOT_ON_PATH.format(name=NAME)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(args: argparse.Namespace) -> None:
    """Print the script.

    Raises:
        UserError: The library for it is not installed.
    """
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        raise UserError(
            "completion needs argcomplete; install it with: pip install argcomplete"
        ) from None
    sys.stdout.write(shellcode([NAME], shell=args.shell) + "\n")
