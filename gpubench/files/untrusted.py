"""Reads files that somebody else may have written: YAML, JSON, and plain files.

Only regular files are opened, and no more than a limit is read. YAML documents may contain only
plain values: no tags, no anchors, no dates. Afterwards, the caller checks the content of a document
with its own schema. All functions raise InputError or OSError with one line. See docs/security.md.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import yaml

from gpubench.errors import InputError

MOST_YAML_BYTES = 256 << 10
MOST_JSON_BYTES = 4 << 20
_DEEPEST_YAML = 8  # a list of grids, a grid, its grids, a grid, an axis need five
_DEEPEST_JSON = 32
_MOST_VALUES = 100_000  # in a JSON document
_LONGEST_YAML_TEXT = 4096
_MOST_DIGITS = 19  # of an integer with 64 bits
_LARGEST = 1e30  # much larger than any measured figure

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link, and links are not followed here"),
)


def open_regular(path: str | Path, follow_links: bool = True) -> BinaryIO:
    """Open a regular file for reading.

    For everything else, raises OSError with a readable strerror. A named pipe is refused before it
    is opened, because opening it would wait.
    """
    _refuse_special(os.stat(path, follow_symlinks=follow_links), path)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    handle = os.open(path, flags | (0 if follow_links else os.O_NOFOLLOW))
    try:
        _refuse_special(os.fstat(handle), path)  # another file may have replaced it
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: str | Path, limit: int, follow_links: bool = True) -> bytes:
    """The bytes of a regular file. Raises OSError like `open_regular`, and over `limit` bytes."""
    with open_regular(path, follow_links) as file:
        data: bytes | None = file.read(limit + 1)
    if data is None:  # reading some files of the kernel waits for new data
        raise OSError(errno.EAGAIN, "it has no data yet; give a regular file", str(path))
    refuse_larger(len(data), limit, path)
    return data


def refuse_larger(size: int, limit: int, path: str | Path) -> None:
    """Raises OSError if a file of `size` bytes is larger than the limit."""
    if size > limit:
        raise OSError(errno.EFBIG, f"it is larger than {_bytes(limit)}, the limit", str(path))


def _refuse_special(status: os.stat_result, path: str | Path) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kind = next((kind for holds, kind in _KINDS if holds(status.st_mode)), "not a regular file")
    code = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
    raise OSError(code, f"it is {kind}; give a regular file", str(path))


def _bytes(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def parse_json(text: str, origin: str, most_values: int = _MOST_VALUES) -> Any:
    """A JSON document without repeated keys and impossible numbers, and not nested too deeply.

    It has at most `most_values` values, since a schema may report an error for each. Raises
    InputError, which names `origin` and the line or the key.
    """
    try:
        document = json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_int=_whole_number,
            parse_constant=_no_constant,
        )
    except json.JSONDecodeError as error:
        raise InputError(f"{origin}:{error.lineno}: this is not JSON: {error.msg}") from None
    except RecursionError:
        raise InputError(f"{origin}: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{origin}: {error}") from None
    _check_values(document, origin, most_values)
    return document


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        repeated = next(name for name, n in Counter(name for name, _ in pairs).items() if n > 1)
        raise ValueError(f"the key '{repeated[:100]}' is there twice")
    return document


def _whole_number(digits: str) -> int:
    if len(digits.lstrip("-")) > _MOST_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits; at most {_MOST_DIGITS} are allowed")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; an absent value is null")


def _check_values(document: object, origin: str, most_values: int) -> None:
    left: list[tuple[object, tuple[str, ...]]] = [(document, ())]
    count = 0
    while left:
        value, place = left.pop()
        count += 1
        if count > most_values:
            raise InputError(f"{origin}: it has more than {most_values:,} values")
        if len(place) > _DEEPEST_JSON:
            raise InputError(f"{origin}: it is nested deeper than {_DEEPEST_JSON} levels")
        if isinstance(value, dict):
            left += [(member, (*place, name[:100])) for name, member in value.items()]
        elif isinstance(value, list):
            left += [(member, (*place, str(number))) for number, member in enumerate(value)]
        elif isinstance(value, float) and not abs(value) <= _LARGEST:
            where = ".".join(place) or "document"
            raise InputError(f"{origin}: {where}: {value:g} is too large for a measured figure")


class YamlMapping(dict[str, Any]):
    """A mapping with the line of each of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


def parse_yaml(text: str, origin: str) -> Any:
    """A YAML document of mappings, lists, texts, numbers, true, false and null.

    A mapping is a YamlMapping. Tags, anchors, aliases and merge keys are refused. A date is a text,
    and so is `1:30`, which in YAML 1.1 is a number in base 60. The result is None if the document
    is empty. Raises InputError, which names `origin` and the line.
    """
    builder = _YamlBuilder(origin)
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            builder.take(event)
    except InputError:
        raise
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"{origin}:{line}: this is not valid YAML: a character is not allowed"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{origin}:{mark.line + 1}:{mark.column + 1}" if mark else origin
        raise InputError(f"{place}: this is not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError):  # such as the character \UFFFFFFFF
        raise InputError(f"{origin}: this is not valid YAML") from None
    return builder.document


_NULL = re.compile("|~|null|Null|NULL")
_TRUE = re.compile("true|True|TRUE|yes|Yes|YES|on|On|ON")
_FALSE = re.compile("false|False|FALSE|no|No|NO|off|Off|OFF")
_WHOLE = re.compile("[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,3})?")


class _YamlBuilder:
    """Builds a document from YAML's events, without recursion."""

    def __init__(self, origin: str) -> None:
        self.document: Any = None
        self._origin = origin
        self._documents = 0
        self._open: list[YamlMapping | list[Any]] = []
        self._keys: list[str | None] = []  # for each open mapping, the key whose value comes next

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(line, "a second document begins; a file holds one")
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(
                line,
                f"*{event.anchor!s:.100} is an alias, which is not allowed; write its value",
            )
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            self._begin_value(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()

    def _begin_value(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.anchor is not None:
            self._refuse(
                line, f"&{event.anchor!s:.100} is an anchor, which is not allowed; remove it"
            )
        if event.tag is not None:
            self._refuse(line, f"{event.tag[:100]} is a tag, which is not allowed; remove it")
        if isinstance(event, yaml.ScalarEvent):
            if not self._is_key(event, line):
                self._put(self._scalar(event, line))
            return
        if self._open and isinstance(self._open[-1], YamlMapping) and self._keys[-1] is None:
            self._refuse(line, "a key must be a word")
        if len(self._open) == _DEEPEST_YAML:
            self._refuse(line, f"it is nested deeper than {_DEEPEST_YAML} levels")
        opened: YamlMapping | list[Any] = (
            YamlMapping() if isinstance(event, yaml.MappingStartEvent) else []
        )
        self._put(opened)
        self._open.append(opened)
        self._keys.append(None)

    def _is_key(self, event: yaml.ScalarEvent, line: int) -> bool:
        if not self._open or self._keys[-1] is not None:
            return False
        within = self._open[-1]
        if not isinstance(within, YamlMapping):
            return False
        key = self._checked(event.value, line)
        if key in within.lines:
            self._refuse(line, f"'{key[:100]}' is there twice; remove one")
        within.lines[key] = line
        self._keys[-1] = key
        return True

    def _put(self, value: Any) -> None:
        if not self._open:
            self.document = value
            return
        within, key = self._open[-1], self._keys[-1]
        if isinstance(within, YamlMapping):
            assert key is not None
            within[key] = value
            self._keys[-1] = None
        else:
            within.append(value)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> str | int | float | bool | None:
        text = self._checked(event.value, line)
        if event.style is not None:  # in quotes
            return text
        if _NULL.fullmatch(text):
            return None
        if _TRUE.fullmatch(text):
            return True
        if _FALSE.fullmatch(text):
            return False
        if _WHOLE.fullmatch(text):
            if len(text.lstrip("-+")) > _MOST_DIGITS:
                self._refuse(
                    line, f"a number has {len(text):,} digits; at most {_MOST_DIGITS} are allowed"
                )
            return int(text)
        return float(text) if _DECIMAL.fullmatch(text) else text

    def _checked(self, text: str, line: int) -> str:
        if len(text) > _LONGEST_YAML_TEXT:
            self._refuse(line, f"a text is longer than {_LONGEST_YAML_TEXT:,} characters")
        try:
            text.encode()
        except UnicodeEncodeError:
            self._refuse(line, "half a character of UTF-16 is not a text")
        return text

    def _refuse(self, line: int, problem: str) -> NoReturn:
        raise InputError(f"{self._origin}:{line}: {problem}")
