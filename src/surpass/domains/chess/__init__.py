"""Chess: the rules as a domain, game sets, tokens, packed shards, experts of known strength."""
