"""Where observations come from: the declared job types, and AWS itself."""
