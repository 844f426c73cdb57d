"""The resources of a deployment, a file for each part of Google Cloud that holds them."""
