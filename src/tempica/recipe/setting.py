"""Values given on the command line, `render.snr=0.3`, written into the text of a recipe; its comments stay."""

from __future__ import annotations

import copy
import json
import math
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tempica.errors import RecipeError

_HEADER = re.compile(r"^[ \t]*(\[\[?)([^\]#\n]+)\]\]?[ \t]*(?:#.*)?$")
_BARE = re.compile(r"^[A-Za-z_][\w./-]*$")
_NO_WORDS = ("true", "false", "inf", "nan")


def set_values(text: str, path: Path, given: Sequence[str]) -> str:
    """A recipe's text with values changed or added.

    Parameters:
        text: of the recipe.
        path: that messages name.
        given: KEY=VALUE each; a key is dotted, with the number of an entry where tables are listed, as in
            simulate.dynamics.0.coefficient=0.9. A value is TOML; a single word needs no quotes.

    Raises RecipeError, in one message, for what cannot be read or has no place in the recipe. What a recipe does not
    know is found when it is checked.

    Example:
        >>> print(set_values('name = "x"\\n[render]\\nsnr = 0.1  # of cryo-EM\\n', Path("x.toml"), ["render.snr=0.3"]))
        name = "x"
        [render]
        snr = 0.3  # of cryo-EM
        <BLANKLINE>
    """
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError):
        return text  # the check of the recipe says what is wrong with it
    mistakes = []
    for one in given:
        try:
            keys, value = _parsed(one)
            wanted = copy.deepcopy(content)
            _put(wanted, keys, value, one)
            new = _written(text, keys, wanted)
            if tomllib.loads(new) != wanted:
                raise ValueError(f"--set {one}: the recipe writes this place in a way that cannot be changed from here")
            text, content = new, wanted
        except (ValueError, RecursionError) as error:
            mistakes.append(f"  {error}.")
    if mistakes:
        raise RecipeError("\n".join([f"Values of the recipe {path} cannot be set:", *mistakes]))
    return text


def _parsed(given: str) -> tuple[list[str], Any]:
    key, sign, value = given.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not sign or not all(keys):
        raise ValueError(f"--set {given}: must be KEY=VALUE, as in --set render.snr=0.3")
    value = value.strip()
    try:
        return keys, tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        if _BARE.match(value) and value not in _NO_WORDS:
            return keys, value
        raise ValueError(
            f"--set {given}: {value!r} is no TOML value; write it as in 0.3, true, \"word\" or '[1, 2]'"
        ) from None


def _put(content: dict[str, Any], keys: list[str], value: Any, given: str) -> None:
    """Change a value in nested tables and lists."""
    here: Any = content
    for i, key in enumerate(keys):
        last = i == len(keys) - 1
        if isinstance(here, list):
            if not key.isdecimal() or int(key) >= len(here):
                place, most = ".".join(keys[:i]), len(here) - 1
                raise ValueError(f"--set {given}: {place} is a list, so {key!r} must be a number from 0 to {most}")
            index: Any = int(key)
        elif isinstance(here, dict):
            index = key
            if not last:
                here.setdefault(key, {})
        else:
            raise ValueError(f"--set {given}: {'.'.join(keys[:i])} = {here!r} is a value, which has no {key!r}")
        if last:
            here[index] = value
        else:
            here = here[index]


def _written(text: str, keys: list[str], content: dict[str, Any]) -> str:
    """The text with the innermost line that holds a value rewritten, or a line or table added."""
    lines = text.split("\n")
    tables = _tables(lines)
    for depth in range(len(keys) - 1, -1, -1):  # the innermost table that the recipe writes as one
        span = tables.get(tuple(keys[:depth]))
        if span is None:
            continue
        value = _value(content, keys[: depth + 1])
        place = _line_of(lines, span, keys[depth])
        if place is not None:
            first, after, tail = place
            lines[first:after] = [f"{lines[first].partition('=')[0].rstrip()} = {_toml(value)}{tail}"]
        elif depth == len(keys) - 1:
            lines.insert(_end(lines, span), f"{keys[-1]} = {_toml(value)}")
        elif depth and not any(table[: len(keys) - 1] == tuple(keys[:-1]) for table in tables):
            lines.insert(_end(lines, span), f"{keys[depth]} = {_toml(value)}")
        else:
            continue
        return "\n".join(lines)
    return "\n".join(lines).rstrip("\n") + f"\n\n[{'.'.join(keys[:-1])}]\n{keys[-1]} = {_toml(_value(content, keys))}\n"


def _value(content: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        content = content[int(key)] if isinstance(content, list) else content[key]
    return content


def _tables(lines: list[str]) -> dict[tuple[str, ...], tuple[int, int]]:
    """First line and the line after the last of each table; an entry of a list has its number as the last key."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    numbers: dict[tuple[str, ...], int] = {}
    name: tuple[str, ...] = ()
    start = 0
    for i, line in enumerate([*lines, "[end]"]):
        header = _HEADER.match(line)
        if header is None or (i < len(lines) and _within_value(lines, start, i)):
            continue
        found[name] = start, i
        start = i + 1
        plain = tuple(part.strip().strip("\"'") for part in header[2].split("."))
        if header[1] == "[[":
            numbers[plain] = numbers.get(plain, -1) + 1
            plain = (*plain, str(numbers[plain]))
        name = plain
    return found


def _within_value(lines: list[str], start: int, line: int) -> bool:
    """Whether a line that looks like a header belongs to a list or text that began before it."""
    try:
        tomllib.loads("\n".join(lines[start:line]))
    except ValueError:
        return True
    return False


def _line_of(lines: list[str], span: tuple[int, int], key: str) -> tuple[int, int, str] | None:
    """Where a key's value stands in a table: first line, line after the last, and the comment behind it."""
    start = re.compile(rf"""^[ \t]*["']?{re.escape(key)}["']?[ \t]*=""")
    for first in range(*span):
        if not start.match(lines[first]):
            continue
        for after in range(first + 1, span[1] + 1):
            try:
                tomllib.loads("\n".join(lines[first:after]))
            except ValueError:
                continue
            return first, after, _comment(lines[after - 1], after - first == 1)
    return None


def _comment(line: str, whole: bool) -> str:
    """The comment at a line's end, with the space before it."""
    for match in re.finditer(r"[ \t]*#", line):
        head = line[: match.start()]
        try:
            tomllib.loads(head if whole else f"x = [{head.strip().rstrip(']}, ')}]")
        except ValueError:
            continue
        return line[match.start() :]
    return ""


def _end(lines: list[str], span: tuple[int, int]) -> int:
    """Behind the last line of a table that says something."""
    last = max((i for i in range(*span) if lines[i].strip() and not lines[i].lstrip().startswith("#")), default=None)
    return span[0] if last is None else last + 1


def _toml(value: Any) -> str:
    """A value of TOML in one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
