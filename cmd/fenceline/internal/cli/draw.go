package cli

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/fenceline/fenceline/inspect"
)

// draw puts a snapshot into a table.
func draw(found *inspect.Snapshot) *table {
	header, rows := found.Table()
	return &table{header: header, rows: rows}
}

// shorten keeps a value from filling the screen; -o json has all of it.
func shorten(value string) string {
	const most = 60
	if utf8.RuneCountInString(value) <= most {
		return value
	}
	return string([]rune(value)[:most]) + "…"
}

// printable is text, quoted as in Go if a terminal could take part of it for anything but text.
func printable(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	return strconv.Quote(text)
}

// printableJSON is the same document: everything outside ASCII stands in strings, where it may be escaped. What is
// unprintable in ASCII, JSON escapes anyway, but for DEL.
func printableJSON(text string) string {
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
