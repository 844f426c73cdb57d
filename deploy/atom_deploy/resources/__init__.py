"""What a deployment consists of: each module makes `Resource` values of one kind.

In the order in which they are made: the services and functions (`functions`), accounts and grants (`iam`), topics and
subscriptions (`pubsub`), the database (`firestore`), alert policies (`alerts`). `build` has what Cloud Build needs to
deploy all of these.
"""
