"""The fault suite: guard's real pipeline and processes under power cuts, kills, full disks and failing system calls."""
