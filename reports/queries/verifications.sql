-- Checks of the journal and drills that were recorded in the period.
-- Columns: at (microseconds), who, what, details (JSON); by at.
SELECT "at", who, what, details FROM acts WHERE what IN ('check', 'drill', 'verify') ORDER BY "at"
