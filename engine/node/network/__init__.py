"""The edge of a node: connections, TLS, who they come from."""
