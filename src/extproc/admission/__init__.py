"""What is known of load, sent and read: endpoints' loads and speeds, requests in flight, saturation, bytes held."""
