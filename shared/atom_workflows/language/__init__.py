"""From a YAML or JSON file to a workflow, or to every problem of the file: `parser.parse_workflow`.

`yaml_syntax` or `json_syntax` turn the file's text into events, and `tree` turns those into `nodes`. `reader` reads the
nodes by the `kinds` of the `fields`, with advice for names of `other_systems`. `dependencies` and `warnings` check the
whole file. `problems` collects what is wrong, with `suggestions` and within `limits`. `json_schema` and `reference`
publish the fields.
"""
