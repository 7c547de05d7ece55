"""Policy documents as values: what must survive what. Reading and checking them is `engine.reconcile.load`'s.

Durations are microseconds and sizes bytes throughout, as in `engine.model.times`.
"""
