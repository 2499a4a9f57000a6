// Verifies an exported log with the Go project's own libraries, golang.org/x/mod/sumdb/note and sumdb/tlog (0.7.0).
//
// verify DIR VKEY: every signature, the inclusion of every record, and consistency between all checkpoints. The only
// thing of guard in here is where files lie: c2sp.org/tlog-tiles has no tile height in its paths.
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height, width = 8, 256

// store reads the tiles of a log of size n; a smaller tree is given the beginning of a wider tile.
type store struct {
	dir string
	n   int64
}

func (s store) Height() int                        { return height }
func (s store) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func (s store) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		data, err := s.read(t)
		if err != nil {
			return nil, err
		}
		out[i] = data[:t.W*tlog.HashSize]
	}
	return out, nil
}

// read gives the file of a tile, or of a bundle for level -1, in the width that it has in a log of this size.
func (s store) read(t tlog.Tile) ([]byte, error) {
	level := t.L
	if level < 0 {
		level = 0
	}
	if t.W = int(s.n>>uint(level*height) - t.N*width); t.W > width {
		t.W = width
	}
	path := strings.Replace(strings.Replace(t.Path(), "tile/8/", "tile/", 1), "/data/", "/entries/", 1)
	return os.ReadFile(filepath.Join(s.dir, path))
}

// open gives the tree of a signed checkpoint.
func open(path string, keys note.Verifiers) tlog.Tree {
	data, err := os.ReadFile(path)
	check(err)
	opened, err := note.Open(data, keys)
	check(err)
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := tlog.ParseHash(lines[2])
	check(err)
	return tlog.Tree{N: size, Hash: root}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	verifier, err := note.NewVerifier(os.Args[2])
	check(err)
	keys := note.VerifierList(verifier)
	head := open(filepath.Join(os.Args[1], "checkpoint"), keys)
	files := store{os.Args[1], head.N}
	trees := []tlog.Tree{head}
	older, err := filepath.Glob(filepath.Join(os.Args[1], "checkpoints", "*"))
	check(err)
	for _, path := range older {
		if tree := open(path, keys); tree.N > 0 { // x/mod has no tree without records
			trees = append(trees, tree)
		}
	}
	sort.Slice(trees, func(i, j int) bool { return trees[i].N < trees[j].N })
	records, consistent := inclusions(head, files), 0
	for j, later := range trees {
		for _, earlier := range trees[:j] {
			proof, err := tlog.ProveTree(later.N, earlier.N, tlog.TileHashReader(later, files))
			check(err)
			check(tlog.CheckTree(proof, later.N, later.Hash, earlier.N, earlier.Hash))
			consistent++
		}
	}
	fmt.Printf("{\"checkpoints\": %d, \"inclusion\": %d, \"consistency\": %d}\n", len(trees), records, consistent)
}

// inclusions proves and checks every record of the log.
func inclusions(head tlog.Tree, files store) int64 {
	reader := tlog.TileHashReader(head, files)
	var bundle []byte
	for i := int64(0); i < head.N; i++ {
		if i%width == 0 {
			data, err := files.read(tlog.Tile{H: height, L: -1, N: i / width})
			check(err)
			bundle = data
		}
		length := binary.BigEndian.Uint16(bundle)
		leaf := tlog.RecordHash(bundle[2 : 2+length])
		bundle = bundle[2+length:]
		proof, err := tlog.ProveRecord(head.N, i, reader)
		check(err)
		check(tlog.CheckRecord(proof, head.N, head.Hash, i, leaf))
	}
	return head.N
}
