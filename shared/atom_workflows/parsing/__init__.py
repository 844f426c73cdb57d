"""From a YAML or JSON file to a workflow, or to every problem of the file: `parse.parse_workflow`."""
