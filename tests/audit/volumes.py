"""A file system in memory that forgets, when its power goes, what was not synced: content, renames, removals, folders.

It is a simulator and no mock: `Disk` and everything above it run on it as on a directory. Each tick is one moment at
which the power may go; what is left then is drawn from a seed among all that a real file system could have kept.
"""

import itertools
import random


class PowerCut(Exception):
    """The power went; nothing that this volume is asked later happens."""


class Memory:
    """A volume of `guard.audit.disk`. The power goes at tick *cut*; None: never."""

    def __init__(self, cut=None):
        self.cut = cut
        self.ticks = 0
        self.live = {}  # path -> file
        self.kept = {}  # the same, as it would be after a cut
        self.content = {}  # file -> what is read
        self.durable = {}  # file -> what would be left; absent: anything
        self.folders, self.kept_folders = {"."}, {"."}
        self.pending = []  # (folder, change of `kept`), in order
        self.files = itertools.count()

    def tick(self):
        self.ticks += 1
        if self.cut is not None and self.ticks >= self.cut:
            raise PowerCut

    def create(self, path, data, *, sync=True):
        self.remove(path)
        assert parent(path) in self.folders, f"no folder for {path}"
        file = next(self.files)
        self.live[path] = file
        self.pending.append((parent(path), lambda names: names.__setitem__(path, file)))
        for written in (b"", data[: len(data) // 2], data):
            self.content[file] = written
            self.tick()
        if sync:
            self.durable[file] = data
            self.tick()

    def rename(self, source, target):
        file = self.live.pop(source)
        self.live[target] = file

        def change(names):
            names.pop(source, None)
            names[target] = file

        self.pending.append((parent(target), change))
        self.tick()

    def sync(self, folder):
        self.tick()
        for where, change in self.pending:
            if where == folder:
                change(self.kept)
        self.pending = [one for one in self.pending if one[0] != folder]
        self.kept_folders |= {one for one in self.folders if parent(one) == folder}
        self.tick()

    def make(self, folder):
        made = []
        while folder not in self.folders:
            made.append(folder)
            folder = parent(folder)
        self.folders |= set(made)
        self.tick()
        return [parent(one) for one in reversed(made)]

    def read(self, path):
        self.tick()
        return self.content[self.live[path]] if path in self.live else None

    def remove(self, path):
        if path in self.live:
            del self.live[path]
            self.pending.append((parent(path), lambda names: names.pop(path, None)))
            self.tick()

    def after_the_cut(self, seed):
        """The volume as it is found when the power is back."""
        chance, found, names = random.Random(seed), Memory(), dict(self.kept)
        for _, change in self.pending:
            if chance.random() < (0, 0.5, 1)[seed % 3]:
                change(names)
        found.folders = {one for one in self.folders if one in self.kept_folders or chance.random() < seed % 3 / 2}
        found.folders = {one for one in found.folders if all(above in found.folders for above in parents(one))}
        for path, file in names.items():
            if parent(path) in found.folders:
                found.live[path] = found.kept[path] = file
                found.content[file] = found.durable[file] = self.durable.get(file, self.torn(file, chance))
        found.kept_folders = set(found.folders)
        found.files = itertools.count(next(self.files))
        return found

    def torn(self, file, chance):
        written = self.content[file]
        at = chance.randint(0, len(written))
        return chance.choice([written[:at], written[:at] + bytes(len(written) - at), b""])


def parent(path):
    return path.rpartition("/")[0] or "."


def parents(folder):
    while folder != ".":
        folder = parent(folder)
        yield folder
