"""Who asks, and what each may: certificates, tokens, roles."""
