"""How the bytes of a table become text, where that is not UTF-8."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from typing import IO, Final

from lowres.errors import DataError

TYPOGRAPHIC: Final = frozenset(
    "\u20ac\u201a\u201e\u2026\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u2122\u2039\u203a\u00a0\u00a1\u00a3\u00a5\u00a7\u00a9\u00ab\u00ae\u00b0\u00b4\u00b7\u00bb\u00bf"
)
"""Signs beside letters that Western European text has in cp1252."""
_MAGIC: Final = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"7z\xbc\xaf": "a 7z archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of an old kind",
    b"PAR1": "a Parquet file (name it .parquet)",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "a SQLite database",
    b"%PDF-": "a PDF",
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_RARE: Final = 0.2
"""Share of letters beyond ASCII from which a text is hardly Western European."""
_ODD_RUN = re.compile(r"[^\W\d_a-zA-Z]{3}|[^\W\d_][\u00b0\u00a5\u00a3\u00b9\u00b3\u00bf\u00a1][^\W\d_]")


def guess_encoding(raw: IO[bytes]) -> str | None:
    """``utf-8``, ``utf-16`` or ``cp1252`` if the bytes can hardly be anything else, or None.

    UTF-16 needs its byte order mark. cp1252 (which holds Latin-1) is taken if all of it reads as Western European
    letters and usual signs, at most a fifth of the letters beyond ASCII, no three of them in a row.
    """
    head = raw.read(2)
    raw.seek(0)
    if head in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if _is_utf8(raw):
        return "utf-8"
    raw.seek(0)
    plain = foreign = 0
    try:
        for line in io.TextIOWrapper(raw, "cp1252", newline="\n"):
            if line.isascii():
                plain += len(line)
                continue
            beyond = [character for character in line if not character.isascii()]
            letters = [character for character in beyond if unicodedata.category(character).startswith("L")]
            strange = set(beyond) - set(letters) - TYPOGRAPHIC
            if strange or _ODD_RUN.search(line):
                return None
            plain, foreign = plain + sum(map(str.isalpha, line)), foreign + len(letters)
    except UnicodeError:
        return None
    return "cp1252" if foreign <= _RARE * plain else None


def what_it_is(raw: IO[bytes]) -> str | None:
    """What a file is that is known to be no text, by its first bytes."""
    head = raw.read(16)
    raw.seek(0)
    return next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None)


def whole(text: str) -> str:
    """The text with the sign for a broken character in place of halves of surrogate pairs, which JSON can spell but UTF-8
    and tokenizers cannot.
    """
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _is_utf8(raw: IO[bytes]) -> bool:
    """Whether all bytes are UTF-8, perhaps cut within the last character."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := raw.read(1 << 20):
            decoder.decode(block)
    except UnicodeError:
        return False
    return True


def signed(encoding: str) -> str:
    """The encoding under which a byte order mark is no text."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def not_text(raw: IO[bytes], name: str, encoding: str) -> DataError:
    """What to say of a file that is not in its encoding: the first broken line and the likely encoding."""
    number, line, start = 1, b"", 0
    for number, line in enumerate(raw, start=1):  # noqa: B007
        try:
            line.decode(encoding)
        except UnicodeError as error:
            start = getattr(error, "start", 0)
            break
    rest = raw.read(1 << 20)
    raw.seek(0)
    marked = raw.read(2) in (b"\xff\xfe", b"\xfe\xff")
    if marked and encoding.lower().replace("_", "-").startswith("utf-16"):
        return DataError(f"{name}: the file ends within a character", hint="it looks truncated: copy it again")
    if marked:
        guess = "utf-16"
    elif not rest and len(line) - start < 4 and line[start] >= 0xC2:
        return DataError(
            f"{name}, line {number}: the file ends within a character", hint="it looks truncated: copy it again"
        )
    else:
        guess = "cp1252" if re.search(rb"[\x80-\x9f]", line + rest) else "latin-1"
    return DataError(
        f"{name}, line {number}: not {encoding.removesuffix('-sig')}",
        got=f"byte 0x{line[start]:02x}; the file looks like {guess}",
        hint=f"convert it (iconv -f {guess} -t utf-8) or set table: {{encoding: {guess}}} in a task file",
    )
