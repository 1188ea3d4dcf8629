"""The page "Kanban Health" in the host's dashboard: what needs a person, with one button each."""
