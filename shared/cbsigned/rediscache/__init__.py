"""A Redis or Valkey server beside the core: answers that hosts share, and questions that only one of them asks."""
