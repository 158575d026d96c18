"""What is known of the pool: changes come in, immutable snapshots come out."""
