"""From a YAML or JSON file to a workflow, or to every problem of the file: `parser.parse_workflow`.

`yaml_syntax` or `json_syntax` make events of the file's text, `tree` makes `nodes` of them, `reader` reads those by the
`kinds` of the `fields` (with advice for those of `other_systems`), `dependencies` and `warnings` look at the whole, and
`problems` collects what is wrong, with `suggestions` and within `limits`. `json_schema` and `reference` publish fields.
"""
