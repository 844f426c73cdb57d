"""The expressions in workflow files: `params.day`, `steps.list.outputs.rows > 1000`, `[f.name for f in item.files]`.

`tokens` splits the text of an expression, and `parser` turns the tokens into `syntax`. `checker` finds faults before
the expression runs, using the `types` of the names that it may read; `evaluator` computes its value within a `budget`.
Both share the table of `functions`. `templates` finds `${{ … }}` inside text. Nothing here reads a clock or does I/O,
so the same expression always has the same value.
"""
