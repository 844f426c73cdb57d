"""An embedded Firestore: an I/O-free database and the gRPC service in front of it."""
