"""Split the text of an expression into tokens."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from atom_workflows.errors import ExpressionSyntaxError
from atom_workflows.expressions.frozen import Frozen

MAX_LENGTH: Final = 2_000
"""The maximum number of characters in an expression."""

MAX_INT: Final = 2**63 - 1

KEYWORDS: Final = frozenset({"and", "or", "not", "in", "if", "else", "for", "true", "false", "null"})


class Kind(StrEnum):
    """The kinds of tokens. Their values are the names used in messages."""

    NUMBER = "number"
    TEXT = "text"
    NAME = "name"
    MEMBER = "member"
    SIGN = "sign"
    END = "end"


class Token(Frozen):
    """A token of the text. Only numbers and quoted strings have a `value`."""

    kind: Kind
    source: str
    at: int
    value: str | int | float = ""


_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MEMBER: Final = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?")
_NUMBER: Final = re.compile(r"([0-9]+)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SIGN: Final = re.compile(r"===|!==|==|!=|<=|>=|<>|=>|\?\?|\?\.|&&|\|\||\*\*|//|[-+*/%<>()\[\],.=!?:&|^~{}@$#;`\\]")
_PLAIN: Final = re.compile(r"[^\\'\"\n]+")

_ESCAPES: Final = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "t": "\t"}

# Operators from other languages, and what to write instead.
_OTHER_SIGNS: Final = {
    "&&": "write `and`", "||": "write `or`", "!": "write `not`", "&": "write `and`", "|": "write `or`",
    "===": "write `==`", "!==": "write `!=`", "<>": "write `!=`", "=": "write `==`", "=>": "write `>=`",
    "?": "write `a if condition else b`", "?.": "write `… ?? value` after the whole chain",
    "**": "write it as a product", "^": "write it as a product", "~": "write `not`",
    "{": "expressions cannot create maps", "}": "expressions cannot create maps",
    "$": "names need no `$` inside `${{ … }}`", "`": "put text in quotes: 'text'",
    "\\": "escapes are allowed only in quoted text",
    "#": "expressions have no comments", ";": "a field takes one expression",
}  # fmt: skip


# Those among them that can be read as ours, to find what else is wrong with an expression.
_OUR_OPERATORS: Final = {"&&": "and", "||": "or", "!": "not"}


def tokenize(text: str, tolerated: list[ExpressionSyntaxError] | None = None) -> list[Token]:
    """Return the tokens, ending with END. Raises ExpressionSyntaxError.

    If `tolerated` is given, each `&&`, `||` or `!` is added to it as an error, and read as `and`, `or` or `not`.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionSyntaxError(
            f"the expression has {len(text):,} characters; at most {MAX_LENGTH:,} are allowed", MAX_LENGTH
        )
    tokens = list[Token]()
    at, follows_dot = _space(text, 0), False
    while at < len(text):
        sign = None if tolerated is None or follows_dot else _SIGN.match(text, at)
        if sign and tolerated is not None and (ours := _OUR_OPERATORS.get(sign[0])):
            tolerated.append(_other_sign(sign[0], at))
            tokens.append(Token(Kind.NAME, ours, at))
            at = _space(text, sign.end())
            continue
        token = _member(text, at) if follows_dot else _token(text, at)
        tokens.append(token)
        follows_dot = token.source == "." and token.kind is Kind.SIGN
        at += len(token.source)
        # `params. day` is rejected, so the parser need not know where there were spaces.
        at = at if follows_dot else _space(text, at)
    return [*tokens, Token(Kind.END, "", at)]


def skip_text(text: str, at: int) -> int:
    """Return the offset just after a quoted string, which may be unclosed."""
    quote, at = text[at], at + 1
    while at < len(text) and text[at] != quote:
        at += 2 if text[at] == "\\" else 1
    return min(at + 1, len(text))


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _member(text: str, at: int) -> Token:
    if name := _MEMBER.match(text, at):
        return Token(Kind.MEMBER, name[0], at)
    raise ExpressionSyntaxError(
        "a member's name must follow the `.`", at, "write other names like this: `steps['2nd.step']`"
    )


def _token(text: str, at: int) -> Token:
    if name := _NAME.match(text, at):
        return Token(Kind.NAME, name[0], at)
    if number := _NUMBER.match(text, at):
        return _number(text, number)
    if text[at] in "'\"":
        return _text(text, at)
    sign = _SIGN.match(text, at)
    if not sign:
        raise _unknown_character(text[at], at)
    if sign[0] in _OTHER_SIGNS:
        raise _other_sign(sign[0], at)
    return Token(Kind.SIGN, sign[0], at)


def _other_sign(sign: str, at: int) -> ExpressionSyntaxError:
    return ExpressionSyntaxError(f"`{sign}` is not an operator here", at, _OTHER_SIGNS[sign])


def _number(text: str, found: re.Match[str]) -> Token:
    source, at = found[0], found.start()
    behind = _NAME.match(text, found.end())
    if behind and behind[0] not in KEYWORDS:
        raise ExpressionSyntaxError(
            f"`{source}{behind[0]:.20}` is not a number", at, f"write a duration as text: `'{source}{behind[0]:.20}'`"
        )
    if len(found[1]) > 1 and found[1][0] == "0":
        raise ExpressionSyntaxError(
            f"`{source:.40}` begins with 0", at, "write a date as text: `'2026-01-31'`; numbers have no leading zeros"
        )
    if found[2] or found[3]:
        value = float(source)
        if value == float("inf"):
            raise ExpressionSyntaxError("the number is too large", at)
        return Token(Kind.NUMBER, source, at, value)
    if len(source) > len(str(MAX_INT)) or int(source) > MAX_INT:
        raise ExpressionSyntaxError("the number is too large: whole numbers are limited to 64 bits", at)
    return Token(Kind.NUMBER, source, at, int(source))


def _text(text: str, start: int) -> Token:
    quote, at, value = text[start], start + 1, ""
    while at < len(text) and text[at] != quote:
        if plain := _PLAIN.match(text, at):
            value, at = value + plain[0], plain.end()
        elif text[at] == "\\":
            letter = text[at + 1 : at + 2]
            if letter not in _ESCAPES:
                advice = "the escapes are \\\\ \\' \\\" \\n and \\t; a backslash is `\\\\`"
                raise ExpressionSyntaxError(f"`\\{letter}` is not an escape", at, advice)
            value, at = value + _ESCAPES[letter], at + 2
        elif text[at] == "\n":
            raise ExpressionSyntaxError(
                "quoted text must end on the line where it begins", at, "write a line break as `\\n`"
            )
        else:
            value, at = value + text[at], at + 1
    if at >= len(text):
        raise ExpressionSyntaxError("the text that begins here is never closed", start, f"close it with `{quote}`")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ExpressionSyntaxError("the text contains half of a surrogate pair", start) from None
    return Token(Kind.TEXT, text[start : at + 1], start, value)


def _unknown_character(character: str, at: int) -> ExpressionSyntaxError:
    if character in "\u2018\u2019\u201c\u201d\u00ab\u00bb":
        return ExpressionSyntaxError(f"`{character}` is a typographic quote", at, "write ' or \"")
    if character.isspace():
        return ExpressionSyntaxError("this is not an ordinary space", at, "write an ordinary space")
    if character.isalpha():
        return ExpressionSyntaxError(
            f"names cannot contain `{character}`", at, "write such a name as text: `params['größe']`"
        )
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    return ExpressionSyntaxError(f"`{shown}` means nothing here", at)
