"""What a caller can have done, each with its role and its line in the audit; routes and pages call nothing else."""
