"""The `guard` command: verbs over the SDK. What needs the server's parts imports them when it runs."""
