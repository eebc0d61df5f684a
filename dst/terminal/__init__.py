"""What a person types and reads: arguments, output, signals, exit statuses."""
