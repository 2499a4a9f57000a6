"""Field encryption, keys, rotation, search tokens and custody. These files hold the rules, the store holds the rows."""
