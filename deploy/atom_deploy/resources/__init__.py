"""The resources of a deployment: each module creates `Resource` values of one kind.

`functions` has the services, the functions and their secret; `iam` has the service accounts and grants; `pubsub` has
the topics, subscriptions and schedule; `storage` has the buckets and the notification of uploads; `firestore` has the
database and its indexes; `alerts` has the alert policies; `build` has what Cloud Build needs to check and deploy.
plan.py puts them in order.
"""
