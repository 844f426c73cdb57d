"""Pictures of workflows and runs, as text, Mermaid source and SVG."""
