"""The deployment to a Google Cloud project: a plan of resources, carried out by gcloud, with Python alone.

`deployment` says what is wanted, `plan` lists the resources that this takes, `apply` and `destroy` carry it out. It
runs wherever gcloud is, so it needs nothing but the standard library and the library's own settings.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (this runs before anything was installed that could ask for a version)
    sys.exit("Deploying needs Python 3.11 or newer; try: make PYTHON=python3.12 deploy ...")
