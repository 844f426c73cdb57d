"""The expressions of workflow files: `params.day`, `steps.list.outputs.rows > 1000`, `[f.name for f in item.files]`.

`parser` turns a text into the `syntax` of an expression, by way of `tokens`. `checker` finds what is wrong with it
before it runs, from the `types` of the names that it may read; `evaluator` computes its value within a `budget`. Both
share the table of `functions`. `templates` finds `${{ … }}` within texts. Nothing here has a clock or does I/O, so that
the same expression always has the same value.
"""
