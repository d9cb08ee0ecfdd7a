//go:build race

package dashboard

// The browser's pages are looked at without the race detector alone: it would only take longer.
const raced = true
