"""A Task Runner that really runs jobs on this machine: as processes, or as containers of docker or podman."""
