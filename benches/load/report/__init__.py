"""What was measured, as rows; and rows as tables, a document and plots."""
