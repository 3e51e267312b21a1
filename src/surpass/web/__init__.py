"""Pictures for reports: pure functions from values to SVG text, and one style sheet. No scripts, nothing fetched."""
