"""Inside a Hermes worker: may it start, whose calls are its own, is it alive, does it get anywhere, how it ends."""
