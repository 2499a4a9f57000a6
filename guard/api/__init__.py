"""HTTP: routes generated from the catalogue, RFC 9457 problems, OpenAPI, and the thin dispatcher of hot operations."""
