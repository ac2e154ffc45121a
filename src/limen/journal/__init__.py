"""The activity log: every decision and change, appended, checksummed, found again."""
