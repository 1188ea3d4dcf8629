"""What is wrong on a board and why a task does not run: facts read in one pass, judged by pure rules."""
