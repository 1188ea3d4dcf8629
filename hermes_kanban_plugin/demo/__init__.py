"""The demo: real workers on a scratch board, one of them killed in the middle, and the work finished all the same."""
