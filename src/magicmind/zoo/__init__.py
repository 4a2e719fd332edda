"""Complete samples: from the published network to its score, its speed and pictures of what it finds."""
