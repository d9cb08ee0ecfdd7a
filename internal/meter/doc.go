// Package meter counts what a Session does: how long calls wait and how that ends, how long holds last, what is lost, how renewals fare. It
// is written at on every acquisition, so that it takes no mutex, reads no clock and allocates nothing there; it is read when somebody scrapes.
package meter
