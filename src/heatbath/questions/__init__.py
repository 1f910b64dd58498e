"""Questions with accepted answers: graders, the file that holds them, and their tokens for a model."""
