"""Fonts for plots: installed fonts for characters that the bundled font lacks, or replacements."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from factory.common.console import log
from factory.common.imports import without_garbage_collection
from factory.common.text import some

_BUNDLED = "DejaVu Sans"
_MISSING = "?"
_FONT_FILE = Path("fonts", "ttf", "DejaVuSans.ttf")
# Its letters, without a look at the font.
_ASCII = frozenset(map(chr, range(0x21, 0x7F)))
_LISTED = 8


@dataclass(frozen=True)
class PlotFont:
    """Fonts for some texts.

    Attributes:
        families: The bundled font, then installed fonts for missing characters.
        missing: Characters that no font has.
    """

    families: tuple[str, ...]
    missing: frozenset[str]

    @property
    def style(self) -> dict[str, Any]:
        """Settings for matplotlib; dollar signs in names are not formulas."""
        return {"font.family": list(self.families), "text.parse_math": False}

    def shown(self, text: str) -> str:
        """Return a text with `?` for each missing character."""
        return "".join(_MISSING if letter in self.missing else letter for letter in text)

    def numbered(self, names: Sequence[str]) -> list[str]:
        """Return names for the plot; a name with missing characters becomes `#` and its number.

        The replacements are logged.
        """
        lacking = [(place, name) for place, name in enumerate(names) if self.missing & set(name)]
        if not lacking:
            return list(names)
        listed = some([f"#{place} {name}" for place, name in lacking], _LISTED)
        log(
            "no installed font has every character of these class names, so the plot shows their "
            f"numbers: {listed}; install a font with these characters, such as Noto Sans CJK "
            "or Noto Emoji (not Noto Color Emoji)"
        )
        found = list(names)
        for place, name in lacking:
            rest = "".join(letter for letter in name if letter not in self.missing)
            found[place] = f"#{place} {' '.join(rest.split())}".rstrip()
        return found


def plot_font(texts: Iterable[str]) -> PlotFont:
    """Find fonts that have every character of some texts; fonts are searched only if needed."""
    lacking = _visible(texts) - bundled_characters()
    families = [_BUNDLED]
    covered = _installed(lacking) if lacking else {}
    while covered:
        # The font with most of the missing characters; among equals the regular one.
        best = max(covered, key=lambda path: (len(covered[path] & lacking), "Regular" in path))
        if not covered[best] & lacking:
            break
        lacking -= covered[best]
        families.append(_use(best))
    return PlotFont(tuple(families), lacking)


def in_bundled(texts: Iterable[str], *, what: str) -> list[str]:
    """Return texts with only the bundled font's characters, the same on every machine.

    Other characters become code points (`U+732B`), and a log line reports them.
    """
    texts = list(texts)
    others = _visible(texts) - _ASCII
    lacking = sorted(others - bundled_characters()) if others else []
    if lacking:
        named = some(lacking, _LISTED, separator=" ")
        log(f"{what}: its font lacks {named}; shown as code points")
    points = str.maketrans({letter: f" U+{ord(letter):04X} " for letter in lacking})
    changed = (text.translate(points) for text in texts)
    return [
        new if new == old else re.sub(" +", " ", new).strip(" ")
        for new, old in zip(changed, texts, strict=True)
    ]


def _visible(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(letter for text in texts for letter in text if not letter.isspace())


def bundled_font() -> Path:
    """Return the file of matplotlib's bundled font.

    matplotlib itself, whose import takes longer than a contact sheet, is imported only where a
    distribution keeps its data elsewhere.
    """
    package = find_spec("matplotlib")
    if package is not None and package.origin is not None:
        usual = Path(package.origin).with_name("mpl-data") / _FONT_FILE
        if usual.is_file():
            return usual
    import matplotlib

    return Path(matplotlib.get_data_path()) / _FONT_FILE


@cache
def bundled_characters() -> frozenset[str]:
    """Return the characters of matplotlib's bundled font, and those without a glyph."""
    with without_garbage_collection():
        from matplotlib.ft2font import FT2Font

    codes = FT2Font(str(bundled_font())).get_charmap()
    invisible = (chr(code) for code in (*range(0xFE00, 0xFE10), 0x200B, 0x200C, 0x200D, 0x2060))
    return frozenset([*map(chr, codes), *invisible])


def _installed(wanted: frozenset[str]) -> dict[str, frozenset[str]]:
    """Return the wanted characters that each installed font has.

    The system is queried each time: matplotlib's own list would miss newly installed fonts.
    """
    from matplotlib.font_manager import findSystemFonts
    from matplotlib.ft2font import FT2Font

    found = {}
    for path in sorted(findSystemFonts()):
        try:
            font = FT2Font(path)
            characters = wanted & frozenset(map(chr, font.get_charmap()))
        except (OSError, RuntimeError, ValueError):
            continue
        # Colour fonts have empty outlines; the last-resort font has a box for everything.
        unfit = any(word in font.family_name for word in ("Color", "LastResort", "Last Resort"))
        if characters and font.scalable and not unfit:
            found[path] = characters
    return found


def _use(path: str) -> str:
    """Register a font file with matplotlib; return its family."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    fontManager.addfont(path)
    return str(FT2Font(path).family_name)
