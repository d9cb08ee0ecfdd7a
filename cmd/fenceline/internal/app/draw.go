package app

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/fenceline/fenceline/inspect"
)

// Draw puts a snapshot into a table.
func Draw(found *inspect.Snapshot) *Table {
	header, rows := found.Table()
	return &Table{Header: header, Rows: rows}
}

// PrintableJSON is the same document: everything outside ASCII stands in strings, where it may be escaped. What is
// unprintable in ASCII, JSON escapes anyway, but for DEL.
func PrintableJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r < unicode.MaxASCII || unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}
