"""From a YAML or JSON file to a workflow, or to every problem of the file: `parser.parse_workflow`."""
