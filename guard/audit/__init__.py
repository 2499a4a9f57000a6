"""The audit room: canonical records, the Merkle tree over them, signed checkpoints, proofs, export and the verifier."""
