"""Reports over a journal: one set of SQL queries each, rendered as HTML, Markdown or JSON."""
