"""An embedded Pub/Sub: an I/O-free broker, the gRPC services in front of it, and push delivery."""
