"""The subscription filter language, compiled to a predicate on a message's attributes.

`attributes:key`, `attributes.key = "value"`, `!=`, `hasPrefix(attributes.key, "value")`, `NOT` (or `-`), `AND`,
`OR` and parentheses; as in the real service, `AND` and `OR` may be mixed only with parentheses.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from atom_emulator.pubsub.refusals import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atom_emulator.pubsub.messages import Predicate

MAX_FILTER_BYTES: Final = 256

_TOKEN: Final = re.compile(r'\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[A-Za-z_][\w-]*)|(?P<sign>!=|[=:.,()-]))')


def compile_filter(text: str) -> Predicate:
    """Compile a filter to a predicate.

    Raises INVALID_ARGUMENT, saying what was expected and where.
    """
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise invalid(f"a filter may have at most {MAX_FILTER_BYTES} bytes")
    parser = _Parser(text)
    predicate = parser.parse_expression()
    parser.expect("")
    return predicate


def _negate(inner: Predicate) -> Predicate:
    return lambda attributes: not inner(attributes)


class _Parser:
    """Recursive descent over the tokens; the end of the text is the empty token."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._error(f"cannot read {text[position:].strip()[:20]!r}")
            self._tokens.append(match[match.lastgroup or 0])
            position = match.end()
        self._tokens.append("")

    def expect(self, token: str) -> None:
        """Consume the given token, which must come next."""
        found = self._tokens[0]
        if found != token:
            raise self._error(f"expected {token or 'the end'}, found {found or 'the end'}")
        if token:
            self._tokens.pop(0)

    def parse_expression(self) -> Predicate:
        """Parse one term, or several joined by the same operator."""
        parts = [self._parse_term()]
        word = self._tokens[0]
        while self._tokens[0] in {"AND", "OR"}:
            if self._tokens.pop(0) != word:
                raise self._error("AND and OR are mixed without parentheses")
            parts.append(self._parse_term())
        if len(parts) == 1:
            return parts[0]
        quantifier = all if word == "AND" else any
        return lambda attributes: quantifier(part(attributes) for part in parts)

    def _parse_term(self) -> Predicate:
        found = self._tokens[0]
        if found in {"NOT", "-"}:
            self._tokens.pop(0)
            return _negate(self._parse_term())
        if found == "(":
            self._tokens.pop(0)
            inner = self.parse_expression()
            self.expect(")")
            return inner
        return self._parse_prefix() if found == "hasPrefix" else self._parse_comparison()

    def _parse_prefix(self) -> Predicate:
        self.expect("hasPrefix")
        self.expect("(")
        self.expect("attributes")
        self.expect(".")
        key = self._parse_key()
        self.expect(",")
        prefix = self._parse_string()
        self.expect(")")
        return lambda attributes: attributes.get(key, "").startswith(prefix) and key in attributes

    def _parse_comparison(self) -> Predicate:
        self.expect("attributes")
        if self._tokens[0] == ":":
            self._tokens.pop(0)
            key = self._parse_key()
            return lambda attributes: key in attributes
        self.expect(".")
        return self._parse_equality(self._parse_key())

    def _parse_equality(self, key: str) -> Predicate:
        sign = self._tokens.pop(0)
        if sign not in {"=", "!="}:
            raise self._error(f"expected = or !=, found {sign or 'the end'}")
        value = self._parse_string()

        def equal(attributes: Mapping[str, str]) -> bool:
            return attributes.get(key) == value

        return equal if sign == "=" else _negate(equal)

    def _parse_key(self) -> str:
        token = self._tokens[0]
        if token.startswith('"'):
            return self._parse_string()
        if not re.match(r"\w", token):
            raise self._error(f"expected an attribute key, found {token or 'the end'}")
        return self._tokens.pop(0)

    def _parse_string(self) -> str:
        token = self._tokens.pop(0)
        try:
            if token.startswith('"'):
                return str(json.loads(token))
        except ValueError:
            pass  # An escape that JSON does not know.
        raise self._error(f"expected a string in double quotes, found {token or 'the end'}")

    def _error(self, problem: str) -> Exception:
        return invalid(f"invalid filter {self._text!r}: {problem}")
