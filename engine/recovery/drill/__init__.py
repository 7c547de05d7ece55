"""Drills: restore to scratch, look at what came back, measure, clean up, keep the evidence."""
