"""Who is calling, and may they do it: API tokens, roles per tenant, and the decision that the gate asks for."""
