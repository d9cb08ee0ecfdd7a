package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// draw puts lines into words, one row for each entry.
func draw(found *listing) *table {
	t := &table{header: []string{"KIND", "NAME", "POS", "STATE", "TOKEN", "WHO", "SINCE"}}
	values := slices.ContainsFunc(found.Lines, func(l *line) bool {
		return slices.ContainsFunc(l.Entries, func(e entry) bool { return e.Value != "" })
	})
	if values {
		t.header = append(t.header, "VALUE")
	}
	for _, l := range found.Lines {
		for _, e := range l.Entries {
			cells := []string{l.Kind, l.Name, strconv.Itoa(e.Position), e.State, strconv.FormatInt(e.Token, 10), e.who(), e.since(), shorten(e.Value)}
			for i, cell := range cells {
				cells[i] = printable(cell)
				if cell == "" {
					cells[i] = "-"
				}
			}
			t.add(cells[:len(t.header)]...)
		}
	}
	return t
}

// who is the process as its session calls it, or what there is to know of an unknown one.
func (e *entry) who() string {
	s := e.Session
	if s == nil {
		text := "unknown, no lease"
		if e.Lease != "" {
			text = "unknown, lease " + e.Lease
		}
		if e.foreign {
			text += ", key " + e.Key
		}
		return text
	}
	text := s.Name
	if s.Host != "" {
		text += "@" + s.Host
	}
	text += fmt.Sprintf(" pid %d", s.PID)
	for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
		text += fmt.Sprintf(" %s=%s", label, s.Labels[label])
	}
	return text
}

func (e *entry) since() string {
	if e.Session == nil || e.Session.Started.IsZero() {
		return ""
	}
	return e.Session.Started.UTC().Format(time.RFC3339)
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
