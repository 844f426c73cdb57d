"""What a deployment consists of: each module makes `Resource` values of one kind.

`functions` has the services, the functions and their secret; `iam` the service accounts and grants; `pubsub` topics,
subscriptions and the schedule; `storage` buckets and the notification of uploads; `firestore` the database and its
indexes; `alerts` the alert policies; `build` what Cloud Build needs to check and deploy. plan.py puts them in order.
"""
