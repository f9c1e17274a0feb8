"""Notes that people add to a generated card: kept below a line; changes above it are detected.

The line contains hashes of the text above it and of the notes below. They show whether somebody
changed a copy of the card after it was written.
"""

import difflib
import hashlib
import re
from dataclasses import dataclass

from factory.common.errors import UserError

FILE_NAME = "README.md"
LINE = "<!-- Notes below this line are kept when this card is written again."
_LINE = re.compile(
    rf"^{re.escape(LINE)}(?: (?P<body>\w+) (?P<notes>\w+))? -->[ \t\r]*$", re.MULTILINE
)
# This section names the repository on the Hub, and a directory elsewhere.
_LOADING = re.compile(r"^## Load it$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_MOST_LINES = 60


@dataclass(frozen=True)
class Card:
    """A card's text in two parts.

    Attributes:
        body: Generated text; a build may replace it.
        notes: Text that people wrote below the line.
        body_sealed: Whether the body is unchanged since it was generated.
        notes_sealed: Whether the notes are unchanged since then.
    """

    body: str
    notes: str
    body_sealed: bool
    notes_sealed: bool


def read_card(text: str) -> Card:
    """Split a card at the line that ends the generated text; without it, all is generated text."""
    plain = text.replace("\r\n", "\n")
    found = _LINE.search(plain)
    if found is None:
        return Card(plain.rstrip(), "", body_sealed=False, notes_sealed=False)
    body, notes = plain[: found.start()].rstrip(), plain[found.end() :].strip()
    return Card(body, notes, found["body"] == _hash(body), found["notes"] == _hash(notes))


def write_card(body: str, notes: str = "") -> str:
    """Return a card with the line between body and notes."""
    body, notes = body.rstrip(), notes.strip()
    line = f"{LINE} {_hash(body)} {_hash(notes)} -->"
    return f"{body}\n\n{line}\n" + (f"\n{notes}\n" if notes else "")


def same_body(one: str, other: str) -> bool:
    """Whether two bodies are equal, apart from the location of the dataset."""
    return _hash(one) == _hash(other)


def merge_cards(ours: str, theirs: str, *, place: object) -> str:
    """Return the card to publish: our body, and the notes of either side.

    Raises:
        UserError: Somebody changed the published body, or both sides' notes; the message shows the
            difference.
    """
    here, there = read_card(ours), read_card(theirs)
    if not there.body_sealed and not same_body(here.body, there.body):
        raise _conflict(there.body, here.body, place=place, what="card")
    if here.notes and there.notes not in ("", here.notes) and not there.notes_sealed:
        raise _conflict(there.notes, here.notes, place=place, what="notes")
    notes = here.notes or there.notes
    if (here.body, notes) == (there.body, there.notes):
        return theirs
    return write_card(here.body, notes)


def _conflict(theirs: str, ours: str, *, place: object, what: str) -> UserError:
    lines = [
        line.rstrip()
        for line in difflib.unified_diff(
            theirs.splitlines(), ours.splitlines(), "there", "here", n=1, lineterm=""
        )
    ]
    more = [f"... and {len(lines) - _MOST_LINES} more lines"] if len(lines) > _MOST_LINES else []
    way = (
        f"move your text there below the line `{LINE} ... -->`, where it is kept"
        if what == "card"
        else "copy the notes there into the card here"
    )
    return UserError(
        "\n".join(
            [
                f"{place}: the {what} in {FILE_NAME} there was changed by hand and would be lost; "
                f"nothing was pushed; {way}, make the same change here, or give --replace-card to "
                "drop it. The difference:",
                *lines[:_MOST_LINES],
                *more,
            ]
        )
    )


def _hash(text: str) -> str:
    plain = "\n".join(line.rstrip() for line in _LOADING.sub("", text).strip().splitlines())
    return hashlib.sha256(plain.encode()).hexdigest()[:16]
