"""Firestore: the store, in the protocol's own messages."""
