"""The deployment to a Google Cloud project, as a plan for gcloud.

`deployment` describes what is wanted, `plan` lists the resources that it needs, and `apply` and `destroy` carry the
plan out. The package runs wherever gcloud does, so it needs only Python's standard library and the settings of Atom
Workflows.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (this runs before anything was installed that could ask for a version)
    sys.exit("Deploying needs Python 3.11 or newer; try: make PYTHON=python3.12 deploy ...")
