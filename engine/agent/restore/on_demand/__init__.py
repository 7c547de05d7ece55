"""Trees that are filled on demand on this host: plan and contents come from the node that granted them."""
