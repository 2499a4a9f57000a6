"""guard: field encryption, permissions, abuse detection and incident runbooks behind one audited gate."""

__version__ = "0.1.0"
