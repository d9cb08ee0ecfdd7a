// Package show makes other people's bytes fit for a terminal.
package show

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable is text, quoted as in Go if a terminal could take part of it for anything but text.
func Printable(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	return strconv.Quote(text)
}

// Shorten keeps a value from filling the screen.
func Shorten(value string) string {
	const most = 60
	if utf8.RuneCountInString(value) <= most {
		return value
	}
	return string([]rune(value)[:most]) + "…"
}
