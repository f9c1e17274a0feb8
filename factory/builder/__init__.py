"""Which process generates which shard, and when."""
