"""Read the text of an expression: `parse`.

A parser with one method for each level of precedence, from the loosest to the tightest:

    expression = or ["if" or "else" expression]
    or = and {"or" and};   and = not {"and" not};   not = "not" not | comparison
    comparison = sum [("==" | "!=" | "<" | "<=" | ">" | ">=" | ["not"] "in") sum]
    sum = product {("+" | "-") product};   product = unary {("*" | "/" | "//" | "%") unary}
    unary = "-" unary | primary ["??" unary]
    primary = number, text, true, false, null, name, x.member, x[expression], f(x, …), (expression), [x, …],
              [expression "for" name "in" or ["if" or]]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from atom_workflows.errors import ExpressionSyntaxError
from atom_workflows.expressions.syntax import (
    MAX_DEPTH,
    Arithmetic,
    Call,
    Chain,
    Coalesce,
    Comparison,
    Comprehension,
    Conditional,
    Expression,
    Index,
    ListLiteral,
    Literal,
    Logic,
    Member,
    Name,
    Negative,
    Not,
    Operand,
    path_of,
    spell,
    too_deep,
)
from atom_workflows.expressions.tokens import KEYWORDS, Kind, Token, tokenize

_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_CONSTANTS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}

# Words from other languages, and what to write instead.
_OTHER_CONSTANTS: Final = {
    "none": "null", "nil": "null", "undefined": "null", "null": "null", "true": "true", "false": "false",
}  # fmt: skip
_OTHER_OPERATORS: Final = {
    "and": "write `and`", "or": "write `or`", "not": "write `not`", "in": "write `in`", "if": "write `if`",
    "else": "write `else`", "is": "write `==`", "eq": "write `==`", "ne": "write `!=`", "contains": "write `b in a`",
    "then": "write `a if condition else b`", "elif": "write `a if c else b if d else e`", "mod": "write `%`",
    "div": "write `//`", "matches": "regular expressions are not supported; use `startsWith`, `endsWith` or `in`",
}  # fmt: skip


def parse(text: str, tolerated: list[ExpressionSyntaxError] | None = None) -> Expression:
    """Read an expression. Raises ExpressionSyntaxError.

    If `tolerated` is given, errors that do not prevent further checks are added to it (see `tokenize`).
    """
    parser = _Parser(tokenize(text, tolerated))
    expression = parser.read_all()
    if deep := too_deep(expression):
        raise _too_deep(deep.at)
    return expression


def _too_deep(at: int) -> ExpressionSyntaxError:
    return ExpressionSyntaxError(
        f"the expression is nested too deeply: more than {MAX_DEPTH} levels", at, "move part of it to a separate step"
    )


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def read_all(self) -> Expression:
        """Read the whole text."""
        if len(self._tokens) == 1:
            raise ExpressionSyntaxError("the expression is empty", self._token.at)
        expression = self._expression()
        if self._token.kind is not Kind.END:
            raise self._unexpected()
        return expression

    # -- tokens ------------------------------------------------------------------------------------------------------

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _sees(self, *sources: str) -> bool:
        """Return True if one of these symbols or keywords comes next."""
        return self._token.source in sources and self._token.kind in (Kind.SIGN, Kind.NAME)

    def _take(self) -> Token:
        token = self._token
        self._next += 1
        return token

    def _expect(self, source: str, why: str) -> Token:
        if self._sees(source):
            return self._take()
        if self._token.kind is Kind.END:
            raise ExpressionSyntaxError(f"`{source}` is missing {why}", self._token.at)
        raise self._unexpected(f"`{source}` is missing {why}")

    def _deeper(self, read: Callable[[], Expression]) -> Expression:
        if self._depth >= MAX_DEPTH:
            raise _too_deep(self._token.at)
        self._depth += 1
        expression = read()
        self._depth -= 1
        return expression

    # -- from the loosest operator to the tightest -------------------------------------------------------------------

    def _expression(self) -> Expression:
        value = self._or()
        if not self._sees("if"):
            return value
        at = self._take().at
        condition = self._or()
        self._expect("else", "after the `if` condition")
        otherwise = self._deeper(self._expression)
        return Conditional(at=at, value=value, condition=condition, otherwise=otherwise)

    def _or(self) -> Expression:
        return self._logic("or", lambda: self._logic("and", self._not))

    def _logic(self, operator: str, read: Callable[[], Expression]) -> Expression:
        operands, at = [read()], self._token.at
        while self._sees(operator):
            self._take()
            operands.append(read())
        return operands[0] if len(operands) == 1 else Logic(at=at, operator=operator, operands=tuple(operands))

    def _not(self) -> Expression:
        if not self._sees("not"):
            return self._comparison()
        at = self._take().at
        return Not(at=at, operand=self._deeper(self._not))

    def _comparison(self) -> Expression:
        left = self._sum()
        at, operator = self._token.at, self._comparison_sign()
        if not operator:
            return left
        right = self._sum()
        again, chained = self._token.at, self._comparison_sign()
        if chained:
            raise ExpressionSyntaxError(
                "comparisons cannot be chained", again, f"write `a {operator} b and b {chained} c`"
            )
        return Comparison(at=at, operator=operator, left=left, right=right)

    def _comparison_sign(self) -> str:
        """Consume a comparison operator if there is one. Return it or ""."""
        if self._sees("not") and self._tokens[self._next + 1].source == "in":
            self._next += 2
            return "not in"
        return self._take().source if self._sees(*_COMPARISONS) else ""

    def _sum(self) -> Expression:
        return self._arithmetic(("+", "-"), lambda: self._arithmetic(("*", "/", "//", "%"), self._unary))

    def _arithmetic(self, operators: tuple[str, ...], read: Callable[[], Expression]) -> Expression:
        first, rest = read(), list[Operand]()
        while self._sees(*operators):
            sign = self._take()
            rest.append(Operand(at=sign.at, operator=sign.source, value=read()))
        return Arithmetic(at=rest[0].at, first=first, rest=tuple(rest)) if rest else first

    def _unary(self) -> Expression:
        if self._sees("-"):
            at = self._take().at
            return Negative(at=at, operand=self._deeper(self._unary))
        value = self._chain()
        if not self._sees("??"):
            return value
        at = self._take().at
        return Coalesce(at=at, value=value, default=self._deeper(self._unary))

    # -- the tightest ------------------------------------------------------------------------------------------------

    def _chain(self) -> Expression:
        base: Expression = self._primary()
        links = list[Member | Index]()
        while self._sees(".", "["):
            sign = self._take()
            if sign.source == ".":
                if self._token.kind is Kind.END:
                    raise ExpressionSyntaxError("a member's name must follow the `.`", sign.at)
                links.append(Member(at=self._token.at, name=self._take().source))
            else:
                index = self._deeper(self._expression)
                if self._sees(":"):
                    advice = "write `[xs[i] for i in range(…)]`"
                    raise ExpressionSyntaxError("slices are not supported", self._token.at, advice)
                self._expect("]", "after the index")
                links.append(Index(at=sign.at, index=index))
        if self._sees("("):
            suggestion = ""
            if links and isinstance(links[-1], Member):
                path = path_of(Chain(at=base.at, base=base, links=tuple(links[:-1])) if links[:-1] else base)
                suggestion = f"write `{links[-1].name}({spell(path) if path else '…'})`"
            raise ExpressionSyntaxError("values have no methods", self._token.at, suggestion)
        if not links:
            return base
        if isinstance(base, Chain):  # The base is in parentheses.
            return Chain(at=base.at, base=base.base, links=(*base.links, *links))
        return Chain(at=base.at, base=base, links=tuple(links))

    def _primary(self) -> Expression:
        token = self._token
        if token.kind in (Kind.NUMBER, Kind.TEXT):
            self._take()
            if token.kind is Kind.TEXT and self._token.kind is Kind.TEXT:
                advice = "write a quote inside text as `\\'`; join pieces of text with `+`"
                raise ExpressionSyntaxError("there are two pieces of text in a row", self._token.at, advice)
            return Literal(at=token.at, value=token.value)
        if self._sees("("):
            self._take()
            inner = self._deeper(self._expression)
            if self._sees(","):
                raise ExpressionSyntaxError("a list is written in brackets", self._token.at, "write `[a, b]`")
            self._expect(")", f"for the `(` at character {token.at + 1}")
            return inner
        if self._sees("["):
            return self._list()
        if token.kind is Kind.NAME and (token.source in _CONSTANTS or token.source not in KEYWORDS):
            return self._name()
        if token.kind is Kind.END:
            raise ExpressionSyntaxError("the expression ends too soon", token.at)
        if token.source == "not":
            raise ExpressionSyntaxError("`not` binds too loosely here", token.at, "put it in parentheses: `(not …)`")
        raise ExpressionSyntaxError(f"a value is missing before `{token.source:.40}`", token.at)

    def _name(self) -> Expression:
        token = self._take()
        if self._sees("("):
            self._take()
            arguments = list[Expression]()
            while not self._sees(")"):
                arguments.append(self._deeper(self._expression))
                if not self._sees(","):
                    break
                self._take()
            self._expect(")", f"after the arguments of `{token.source}`")
            return Call(at=token.at, function=token.source, arguments=tuple(arguments))
        if token.source in _CONSTANTS:
            return Literal(at=token.at, value=_CONSTANTS[token.source])
        if ours := _OTHER_CONSTANTS.get(token.source.lower()):
            raise ExpressionSyntaxError(f"there is no `{token.source}`", token.at, f"write `{ours}`")
        return Name(at=token.at, name=token.source)

    def _list(self) -> Expression:
        at = self._take().at
        items = list[Expression]()
        while not self._sees("]"):
            items.append(self._deeper(self._expression))
            if self._sees("for") and len(items) == 1:
                return self._comprehension(at, items[0])
            if not self._sees(","):
                break
            self._take()
        self._expect("]", "at the end of the list")
        return ListLiteral(at=at, items=tuple(items))

    def _comprehension(self, at: int, item: Expression) -> Expression:
        self._take()
        name = self._token
        if name.kind is not Kind.NAME or name.source in KEYWORDS:
            raise self._unexpected("a name must follow the `for`")
        self._take()
        self._expect("in", "after the name")
        items = self._deeper(self._or)
        condition = None
        if self._sees("if"):
            self._take()
            condition = self._deeper(self._or)
        if self._sees("for", "if"):
            raise ExpressionSyntaxError(
                f"a list may have only one `{self._token.source}`",
                self._token.at,
                "nest one list inside another: `[[…] for …]`",
            )
        self._expect("]", "at the end of the list")
        return Comprehension(at=at, item=item, name=name.source, name_at=name.at, items=items, condition=condition)

    # -- what is wrong -----------------------------------------------------------------------------------------------

    def _unexpected(self, message: str = "") -> ExpressionSyntaxError:
        """Return the error for a token that is not allowed here."""
        token = self._token
        if token.kind is Kind.NAME and (advice := _OTHER_OPERATORS.get(token.source.lower())):
            if token.source not in KEYWORDS:
                return ExpressionSyntaxError(f"`{token.source}` is not an operator here", token.at, advice)
            return ExpressionSyntaxError(f"`{token.source}` is not allowed here", token.at)
        if token.source == ":":
            return ExpressionSyntaxError("`:` is not allowed here", token.at, "write `a if condition else b`")
        return ExpressionSyntaxError(message or f"`{token.source:.40}` is not allowed here", token.at)
