package dashboard

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
)

// functions are those of the templates.
var functions = template.FuncMap{
	"link":   link,
	"age":    func(t time.Time) string { return ago(time.Since(t)) },
	"ago":    ago,
	"until":  func(t time.Time) string { return ago(time.Until(t)) },
	"future": func(t time.Time) bool { return time.Until(t) > 0 },
	"ends":   func(at time.Time, left time.Duration) time.Time { return at.Add(left) },
	"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"millis": func(t time.Time) int64 { return t.UnixMilli() },
	"join":   strings.Join,
	"int":    func(n int64) int { return int(n) },
	"times":  func(a, b int) int { return a * b },
	"plus":   func(a, b int) int { return a + b },
	"many": func(n int, one, more string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", n, more)
	},
	"seconds": func(s float64) string { return ago(time.Duration(s * float64(time.Second))) },
	"query":   url.QueryEscape,
	"lineOf": func(text string) string { // of "lock orders"
		kind, name, _ := strings.Cut(text, " ")
		return lineLink(kind, name)
	},
}

// ago is a duration as people say it, never negative.
func ago(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f d", d.Hours()/24)
}
