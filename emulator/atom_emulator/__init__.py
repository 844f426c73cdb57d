"""The whole platform on one machine: Firestore, Pub/Sub, scheduler, Task Runner and the functions."""
