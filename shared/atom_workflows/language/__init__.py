"""Turn a YAML or JSON file into a workflow, or list every problem in it: `parser.parse_workflow`.

`yaml_syntax` or `json_syntax` turns the file's text into events, and `tree` turns the events into `nodes`. `reader`
reads the nodes according to the `kinds` of the `fields`, with advice on names from `other_systems`; values with
expressions are `embedded`, `scalars` are all others, and `traps` has advice where YAML got in the way of expressions.
`parameters`, `dependencies`, `policies` and `checks` look at the file as a whole: `scopes` has what an expression may
read where it stands, and `certainty` which steps must have succeeded by then. `warnings` and `secrets` look for what is
valid, but not meant. `build` makes the workflow.

`problems` collects the problems, with `places` inside values, with `suggestions` and within the `limits`. `json_schema`
and `reference` publish the fields.
"""
