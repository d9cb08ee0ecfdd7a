package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/fenceline/fenceline/internal/queue"
)

// draw puts lines into words, one row for each entry. Columns that would be empty are left out.
func draw(found *listing) *table {
	columns := []struct {
		name     string
		cell     func(l *line, e *entry) string
		optional bool
	}{
		{"KIND", func(l *line, _ *entry) string { return l.Kind }, false},
		{"NAME", func(l *line, _ *entry) string { return l.Name }, false},
		{"POS", func(_ *line, e *entry) string { return strconv.Itoa(e.Position) }, false},
		{"MODE", func(_ *line, e *entry) string { return e.Mode }, true},
		{"UNITS", func(l *line, e *entry) string { return l.share(e) }, true},
		{"PRIORITY", func(_ *line, e *entry) string { return e.priority() }, true},
		{"STATE", func(_ *line, e *entry) string { return e.state() }, false},
		{"TOKEN", func(_ *line, e *entry) string { return e.Token.String() }, false},
		{"WHO", func(_ *line, e *entry) string { return e.who() }, false},
		{"SINCE", func(_ *line, e *entry) string { return e.since() }, false},
		{"VALUE", func(_ *line, e *entry) string { return e.value() }, true},
	}
	t := &table{}
	for _, column := range columns {
		cells, empty := []string{}, true
		for _, l := range found.Lines {
			for i := range l.Entries {
				cell := column.cell(l, &l.Entries[i])
				empty = empty && cell == ""
				cells = append(cells, cmp.Or(printable(cell), "-"))
			}
		}
		if !column.optional || !empty {
			t.addColumn(column.name, cells)
		}
	}
	return t
}

func (e *entry) state() string {
	switch {
	case e.State == stateReleased && e.KeptUntil != nil:
		return "released, kept until " + e.KeptUntil.Format(time.RFC3339)
	case e.State == stateReleased:
		return "released, kept for a while"
	}
	return e.State
}

// value is what the entry says beyond its mode.
func (e *entry) value() string {
	if e.Value == e.Mode || e.Units > 0 || queue.SetOf(queue.Entry{Key: e.Key, Value: []byte(e.Value)}) != nil {
		return ""
	}
	return shorten(e.Value)
}

// who is the process as its session calls it, or what there is to know of an unknown one.
func (e *entry) who() string {
	s := e.Session
	if e.nobodys {
		return ""
	}
	if s == nil && e.parked {
		return "its session has ended"
	}
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
