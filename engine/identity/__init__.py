"""Who is who at a site: its authority, the certificates it issues, and the TLS contexts made of them."""
