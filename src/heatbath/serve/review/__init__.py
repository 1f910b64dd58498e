"""The queue of answers that wait for a person, in the server's database."""
