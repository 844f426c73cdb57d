"""Pictures of workflows and runs, as text, as Mermaid source and as SVG."""
