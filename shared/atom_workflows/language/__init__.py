"""Turn a YAML or JSON file into a workflow, or list every problem in it: `parser.parse_workflow`.

`yaml_syntax` or `json_syntax` turns the file's text into events, and `tree` turns the events into `nodes`. `reader`
reads the nodes according to the `kinds` of the `fields`, with advice on names from `other_systems`. `dependencies` and
`warnings` check the file as a whole. `problems` collects the problems, with `suggestions` and within the `limits`.
`json_schema` and `reference` publish the fields.
"""
