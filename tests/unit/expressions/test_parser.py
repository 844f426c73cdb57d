"""The grammar: what is one expression, how tightly operators bind, and what is said of mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atom_workflows.errors import ExpressionSyntaxError
from atom_workflows.expressions.parser import parse
from atom_workflows.expressions.syntax import (
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
    Name,
    Negative,
    Not,
    reads,
)
from atom_workflows.expressions.tokens import MAX_LENGTH


def shape(expression: Expression) -> str:  # noqa: C901, PLR0911, PLR0912 -- a case for each kind of part
    """Return the expression with all its parentheses."""
    match expression:
        case Literal(value=value):
            return repr(value)
        case Name(name=name):
            return name
        case Chain(base=base, links=links):
            written = [f"[{shape(link.index)}]" if isinstance(link, Index) else f".{link.name}" for link in links]
            return shape(base) + "".join(written)
        case Call(function=function, arguments=arguments):
            return f"{function}({', '.join(map(shape, arguments))})"
        case Coalesce(value=value, default=default):
            return f"({shape(value)} ?? {shape(default)})"
        case Negative(operand=operand):
            return f"(-{shape(operand)})"
        case Not(operand=operand):
            return f"(not {shape(operand)})"
        case Arithmetic(first=first, rest=rest):
            return f"({shape(first)}{''.join(f' {each.operator} {shape(each.value)}' for each in rest)})"
        case Comparison(operator=operator, left=left, right=right):
            return f"({shape(left)} {operator} {shape(right)})"
        case Logic(operator=operator, operands=operands):
            return f"({f' {operator} '.join(map(shape, operands))})"
        case Conditional(value=value, condition=condition, otherwise=otherwise):
            return f"({shape(value)} if {shape(condition)} else {shape(otherwise)})"
        case ListLiteral(items=items):
            return f"[{', '.join(map(shape, items))}]"
        case Comprehension(item=item, name=name, items=items, condition=condition):
            tail = f" if {shape(condition)}" if condition else ""
            return f"[{shape(item)} for {name} in {shape(items)}{tail}]"
    raise AssertionError(expression)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("1", "1"), ("1.5", "1.5"), ("1e3", "1000.0"), ("true", "True"), ("null", "None"), ("a", "a")),
        *(("'a'", "'a'"), ('"a"', "'a'"), (r"'\'\"\\\n\t'", repr("'\"\\\n\t")), ("'}}'", "'}}'"), ("''", "''")),
        *(
            ("a.b-c.d", "a.b-c.d"),
            ("a.b - c", "(a.b - c)"),
            ("a-b", "(a - b)"),
            ("a.b-1", "a.b-1"),
            ("a.b- 1", "(a.b - 1)"),
        ),
        *(("a.if.null.in", "a.if.null.in"), ("a['x.y'][0].z", "a['x.y'][0].z"), ("(a.b).c", "a.b.c")),
        *(
            ("1 + 2 * 3 - 4", "(1 + (2 * 3) - 4)"),
            ("(1 + 2) * 3", "((1 + 2) * 3)"),
            ("6 / 2 // 3 % 4", "(6 / 2 // 3 % 4)"),
        ),
        *(("-a * b", "((-a) * b)"), ("- -1", "(-(-1))"), ("-a ?? 0", "(-(a ?? 0))"), ("a ?? -1", "(a ?? (-1))")),
        *(("a ?? b ?? c", "(a ?? (b ?? c))"), ("a ?? 1 + 2", "((a ?? 1) + 2)"), ("a ?? 0 > 3", "((a ?? 0) > 3)")),
        *(
            ("a or b and not c", "(a or (b and (not c)))"),
            ("a and b and c", "(a and b and c)"),
            ("not not a", "(not (not a))"),
        ),
        *(("not a == b", "(not (a == b))"), ("not a in b", "(not (a in b))"), ("a not in b", "(a not in b)")),
        *(("1 + 1 == 2", "((1 + 1) == 2)"), ("a <= b or a >= c", "((a <= b) or (a >= c))")),
        *(("a if b else c", "(a if b else c)"), ("a if b else c if d else e", "(a if b else (c if d else e))")),
        *(("a or b if c and d else e", "((a or b) if (c and d) else e)"),),
        *(
            ("[]", "[]"),
            ("[1, a]", "[1, a]"),
            ("[1, ]", "[1]"),
            ("f()", "f()"),
            ("f(a, [b])", "f(a, [b])"),
            ("f(a,)", "f(a)"),
        ),
        *(
            ("[x.n for x in xs if x.ok]", "[x.n for x in xs if x.ok]"),
            ("[x for x in xs or ys]", "[x for x in (xs or ys)]"),
        ),
        *(
            ("[a if b else c for x in xs]", "[(a if b else c) for x in xs]"),
            ("f(a).b[1]", "f(a).b[1]"),
            ("[1, 2][0]", "[1, 2][0]"),
        ),
        *((" a\n  and\tb\r\n", "(a and b)"), ("a .b", "a.b"), ("1if a else 2", "(1 if a else 2)")),
    ],
)
def test_operators_bind_as_in_python(text: str, expected: str) -> None:
    """An expression has one reading, that of Python where Python has the operator."""
    assert shape(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("a && b", 2, "`&&` is not an operator here; write `and`"),
        ("a || b", 2, "`||` is not an operator here; write `or`"),
        ("!a", 0, "`!` is not an operator here; write `not`"),
        ("a === b", 2, "`===` is not an operator here; write `==`"),
        ("a = b", 2, "`=` is not an operator here; write `==`"),
        ("a <> b", 2, "`<>` is not an operator here; write `!=`"),
        ("a ? b : c", 2, "`?` is not an operator here; write `a if condition else b`"),
        ("a?.b", 1, "`?.` is not an operator here; write `… ?? value` after the whole chain"),
        ("2 ** 3", 2, "`**` is not an operator here; write it as a product"),
        ("{'a': 1}", 0, "`{` is not an operator here; expressions cannot create maps"),
        ("$a", 0, "`$` is not an operator here; names need no `$` inside `${{ … }}`"),
        ("None", 0, "there is no `None`; write `null`"),
        ("a == nil", 5, "there is no `nil`; write `null`"),
        ("a == NULL", 5, "there is no `NULL`; write `null`"),
        ("True", 0, "there is no `True`; write `true`"),
        ("False", 0, "there is no `False`; write `false`"),
        ("a AND b", 2, "`AND` is not an operator here; write `and`"),
        ("a is null", 2, "`is` is not an operator here; write `==`"),
        ("a contains b", 2, "`contains` is not an operator here; write `b in a`"),
        ("a < b < c", 6, "comparisons cannot be chained; write `a < b and b < c`"),
        ("a == not b", 5, "`not` binds too loosely here; put it in parentheses: `(not …)`"),
        ("1 if a", 6, "`else` is missing after the `if` condition"),
        ("a.lower()", 7, "values have no methods; write `lower(a)`"),
        ("a.b.lower()", 9, "values have no methods; write `lower(a.b)`"),
        ("(a)(b)", 3, "values have no methods"),
        ("xs[1:2]", 4, "slices are not supported; write `[xs[i] for i in range(…)]`"),
        ("(1, 2)", 2, "a list is written in brackets; write `[a, b]`"),
        (
            "[x for x in xs for y in ys]",
            15,
            "a list may have only one `for`; nest one list inside another: `[[…] for …]`",
        ),
        ("[x for 1 in xs]", 7, "a name must follow the `for`"),
        (
            "'it''s'",
            4,
            r"there are two pieces of text in a row; write a quote inside text as `\'`; join pieces of text with `+`",
        ),
        ("'abc", 0, "the text that begins here is never closed; close it with `'`"),
        ("'a\nb'", 2, r"quoted text must end on the line where it begins; write a line break as `\n`"),
        (r"'\d'", 1, r"`\d` is not an escape; the escapes are \\ \' \" \n and \t; a backslash is `\\`"),
        ("\u201ca\u201d", 0, "`\u201c` is a typographic quote; write ' or \""),
        ("a\u00a0== b", 1, "this is not an ordinary space; write an ordinary space"),
        ("größe", 2, "names cannot contain `ö`; write such a name as text: `params['größe']`"),
        ("a \x00", 2, "`U+0000` means nothing here"),
        ("a. b", 2, "a member's name must follow the `.`; write other names like this: `steps['2nd.step']`"),
        ("a.2nd", 2, "a member's name must follow the `.`; write other names like this: `steps['2nd.step']`"),
        ("2026-01-31", 5, "`01` begins with 0; write a date as text: `'2026-01-31'`; numbers have no leading zeros"),
        ("wait > 2h", 7, "`2h` is not a number; write a duration as text: `'2h'`"),
        ("9223372036854775808", 0, "the number is too large: whole numbers are limited to 64 bits"),
        ("1e999", 0, "the number is too large"),
        ("", 0, "the expression is empty"),
        ("  ", 2, "the expression is empty"),
        ("a +", 3, "the expression ends too soon"),
        ("a.", 1, "a member's name must follow the `.`"),
        ("(a", 2, "`)` is missing for the `(` at character 1"),
        ("[1 2]", 3, "`]` is missing at the end of the list"),
        ("f(a b)", 4, "`)` is missing after the arguments of `f`"),
        ("a b", 2, "`b` is not allowed here"),
        ("a if b : c", 7, "`:` is not allowed here; write `a if condition else b`"),
        (")", 0, "a value is missing before `)`"),
        ("a and", 5, "the expression ends too soon"),
        ("a and or b", 6, "a value is missing before `or`"),
        ("1 else 2", 2, "`else` is not allowed here"),
        ("a['\ud800']", 2, "the text contains half of a surrogate pair"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_remedy(text: str, at: int, message: str) -> None:
    """A text that is no expression is refused at the place of the mistake, with what to write."""
    with pytest.raises(ExpressionSyntaxError) as caught:
        parse(text)
    assert (caught.value.at, str(caught.value)) == (at, message)


@pytest.mark.parametrize(
    "nest",
    [
        *(lambda n: "(" * n + "a" + ")" * n, lambda n: "[" * n + "]" * n, lambda n: "not " * n + "a"),
        *(lambda n: "-" * n + "a", lambda n: "a ?? " * n + "a", lambda n: "a if a else " * n + "a"),
        *(lambda n: "f(" * n + ")" * n, lambda n: "a[" * n + "0" + "]" * n),
        lambda n: "[x for x in " * n + "a" + "]" * n,
    ],
)
def test_nesting_has_a_limit(nest: Callable[[int], str]) -> None:
    """What is nested up to the limit is read, and anything deeper is refused."""
    parse(nest(15))
    for more in (33, 50, 150):
        with pytest.raises(ExpressionSyntaxError, match="nested too deeply"):
            parse(nest(more))


@pytest.mark.parametrize("text", ["a" + ".b" * 900, "1" + " + 1" * 400, "a" + " or a" * 300, "1" + " * 2" * 300])
def test_what_is_long_is_not_deep(text: str) -> None:
    """Chains of members, sums and conditions may be as long as an expression may be."""
    parse(text)


def test_operators_of_other_languages_are_read_as_ours_if_asked() -> None:
    """Every such operator is reported, and the rest of the expression is read."""
    tolerated: list[ExpressionSyntaxError] = []
    expression = parse("a&&!b || c != 1", tolerated)
    assert isinstance(expression, Logic)
    assert (expression.operator, [type(one) for one in expression.operands]) == ("or", [Logic, Comparison])
    assert [(error.at, error.suggestion) for error in tolerated] == [
        (1, "write `and`"),
        (3, "write `not`"),
        (6, "write `or`"),
    ]
    assert reads(parse("a&&!b || c != '&&'", [])) == {("a",), ("b",), ("c",)}
    with pytest.raises(ExpressionSyntaxError, match="`=` is not an operator here"):
        parse("a && b = c", [])


def test_length_has_a_limit() -> None:
    """An expression of one character more than allowed is refused."""
    parse("a" * MAX_LENGTH)
    with pytest.raises(ExpressionSyntaxError, match="2,001 characters; at most 2,000"):
        parse("a" * (MAX_LENGTH + 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params.day", {"params.day"}),
        ("steps['a.b'].state == run.state", {"steps/a.b/state", "run.state"}),
        ("steps[params.n].state", {"steps", "params.n"}),
        ("[f.name + params.a for f in steps.x.outputs.fs if f.ok and g]", {"params.a", "steps.x.outputs.fs", "g"}),
        ("[f for f in f]", {"f"}),
        ("has(a.b) and lower(c) ?? [d][0].e if -f else 1 + 2", {"a.b", "c", "d", "f"}),
        ("a.xs[0].name", {"a.xs"}),
        ("1 + 1", set[str]()),
    ],
)
def test_what_an_expression_reads_is_known(text: str, expected: set[str]) -> None:
    """The paths that an expression reads are known from its text, as far as names are written out."""
    found = {"/".join(path) if any("." in name for name in path) else ".".join(path) for path in reads(parse(text))}
    assert found == expected
