"""What several tests need: recorded captures, small lakes, reference arithmetic."""
