"""What a person looks at: the report and the status of a sweep."""
