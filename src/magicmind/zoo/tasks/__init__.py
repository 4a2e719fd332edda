"""What networks are for: classes, boxes or masks; each knows its files, its score and how it is drawn."""
