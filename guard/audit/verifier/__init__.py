"""Offline verifier of a guard audit log, for people who have no guard; `command.py` is its function and its command.

PATH is a log directory or a zip of one: `checkpoint`, `policy.txt`, `tile/<L>/<N>`, `tile/entries/<N>`,
`checkpoints/<size>`, `proofs/<index>.tlog-proof`, `manifest.json` (c2sp.org/tlog-tiles, /tlog-proof, /tlog-policy).

Law: nothing of guard is imported, only the standard library and `cryptography` (and `pyarrow` for rows of Parquet,
where it happens to be there), because it is copied into evidence as one file (`verify.pyz`) and must run years later in
other hands. What it repeats of tree.py, note.py and tiles.py is written twice on purpose: each is a check on the other.
"""
