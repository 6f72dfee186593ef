"""Archives in, gallery out."""
