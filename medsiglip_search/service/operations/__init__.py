"""What a caller can have done, each with its role and its line in the audit, for routes and pages alike."""
