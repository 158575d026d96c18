"""The picker explains itself: over gRPC, and on a page."""
