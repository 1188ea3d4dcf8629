"""Being installed in Hermes: what is changed for it, what is checked, and how it is all undone."""
