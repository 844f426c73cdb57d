"""Turn a workflow file into a workflow, or list all its problems.

`parser.parse_workflow` is the entry point for YAML and JSON files. `yaml_syntax` or `json_syntax` turns the file's text
into events, and `tree` turns the events into `nodes`. `reader` reads the nodes according to the `kinds` of the
`fields`, with advice on names from `other_systems`. It uses `embedded` for values with expressions and `scalars` for
other single values; `traps` gives advice if YAML syntax breaks an expression. `parameters`, `dependencies`, `policies`
and `checks` check the file as a whole: `scopes` defines what an expression may read in its position, and `certainty`
which steps must have succeeded by then. `warnings` and `secrets` find values that are valid but probably unintended.
`build` builds the workflow.

`problems` collects the problems, `places` finds positions inside values, `suggestions` finds the names that were
probably meant, and `limits` defines the limits. `json_schema` and `reference` publish the fields.
"""
