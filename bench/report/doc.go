// Package report writes a bench.Result for people (Table), for programs (JSON), for benchstat (GoBench), and what is
// going on meanwhile (Live, Lines).
package report
