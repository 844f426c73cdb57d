"""The deployment to a Google Cloud project: a plan of resources, carried out by gcloud, with Python alone.

`deployment` says what is wanted, `plan` lists the resources that this takes, `apply` and `destroy` carry it out. It
runs wherever gcloud is, so it needs nothing but the standard library and the library's own settings.
"""
