"""`eval view OUT`: browse a dataset in a local web page."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from factory.common.console import log, write, write_json
from factory.common.dataset_files import MARKS
from factory.common.options import add_json, add_marks, check_file, not_negative, option
from factory.common.text import plural

_EPILOG = """\
The page is served on this machine only, under an address that contains a random token. Stop the
command with Ctrl-C. On another machine, forward the port: ssh -L 8000:127.0.0.1:8000 HOST, with
--port 8000 there.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Browse the images of a dataset in a local web page: filter and sort by any column, "
        "compare configs side by side, find similar images, copy commands, mark bad images."
    )
    parser.epilog = _EPILOG
    parser.add_argument("out", type=Path, metavar="OUT", help="directory of a finished dataset")
    add_marks(parser, f"read at the start, written at each mark (default: OUT/{MARKS})")
    option(parser, "--port N", "port to listen on (default: a free one)", not_negative, default=0)
    add_json(parser, "url, rows, configs, marks")


def run(args: argparse.Namespace) -> int:
    """Open the dataset and serve it until Ctrl-C."""
    check_file("--marks", args.marks)

    from eval.viewer.answers import open_viewer
    from eval.viewer.server import Server

    viewer = open_viewer(args.out, args.marks)
    server = Server(viewer, port=args.port)
    configs = viewer.rows.configs()
    if args.json:
        marks = str(viewer.marks.path)
        write_json(
            {"url": server.url, "rows": viewer.rows.count, "configs": configs, "marks": marks}
        )
    else:
        write(f"{args.out}: {plural(viewer.rows.count, 'image')}, {plural(len(configs), 'config')}")
        write(f"open {server.url}")
        log("stop with Ctrl-C")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        # The usual end of a server; nothing is left to resume.
        log("stopped by Ctrl-C")
        return 128 + signal.SIGINT
    finally:
        server.server_close()
    return 0
