"""Empty, as on most servers: what a customer adds to the platform's own Python."""
