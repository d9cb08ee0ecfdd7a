package app

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Fitted is a message in lines that are no wider than the terminal, where that is one.
func Fitted(w any, text string) string {
	f, ok := w.(*os.File)
	if !ok {
		return text
	}
	return wrapped(text, WidthOf(f))
}

// WidthOf is zero if f is no terminal. It may be closed meanwhile.
func WidthOf(f *os.File) (width int) {
	width, _ = sizeOf(f)
	return width
}

// sizeOf is in columns and rows.
func sizeOf(f *os.File) (width, height int) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, 0
	}
	_ = conn.Control(func(fd uintptr) { // it fails for one that is closed, which has no size
		if w, h, err := term.GetSize(int(fd)); err == nil {
			width, height = w, h
		}
	})
	return width, height
}

// wrapped breaks text between words where a line would be wider; lines after the first are indented. A word that is wider than
// a line stays whole. A width that makes no sense breaks nothing.
func wrapped(text string, width int) string {
	const indent, least = "  ", 20
	if width < least {
		return text
	}
	var b strings.Builder
	column := 0
	for i, word := range strings.Split(text, " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > width:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
		if j := strings.LastIndexByte(word, '\n'); j >= 0 { // it has lines of its own
			column = utf8.RuneCountInString(word[j+1:])
		}
	}
	return b.String()
}
