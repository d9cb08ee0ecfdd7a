package fence

import (
	"fmt"
	"strconv"
)

// Token orders the holders of one name: a later holder's token is larger than every earlier holder's. Zero is no token.
//
// It is made of two numbers: the create revision of the holder's entry in etcd, which anyone can see there, and the turn, which counts the
// grants under that entry. A session that hands an entry from goroutine to goroutine counts, so that each has a token of its own:
//
//	token = revision · 4096 + turn
//
// So a token stays below 2^53, and is exact in JSON, JavaScript and Lua, for the first 2·10^12 revisions of an etcd.
//
// Tokens of different entries are unique and grow by etcd's word alone. Those of one entry grow as long as its lease stands: a process
// whose lease was revoked by hand may still count under the old entry, with tokens smaller than those of the next.
type Token int64

// turnBits is how many bits of a token are the turn.
const turnBits = 12

// Turns is how many grants an entry has tokens for. The Session that made the entry uses 4032 of them, and its next grant needs an entry of its
// own; the others are for the Sessions that take the entry over, see session.WithLease.
const Turns = 1 << turnBits

// TokenAt is the token of a grant under the entry that was created at revision; turn counts from 0 and is below Turns. With turn 0 it
// compares the holders of etcd's own locks and elections, of which an entry has one, with others.
func TokenAt(revision int64, turn int) Token { return Token(revision<<turnBits + int64(turn)) }

// Revision returns the create revision of the entry.
func (t Token) Revision() int64 { return int64(t) >> turnBits }

// Turn returns how many grants there were under the entry before this one.
func (t Token) Turn() int { return int(t) & (Turns - 1) }

// String is the decimal form, which Parse reads.
func (t Token) String() string { return strconv.FormatInt(int64(t), 10) }

// Parse reads what String wrote, and no other spelling. A token is a positive decimal number; anything else is an
// ErrInvalidToken that shows the text.
func Parse(text string) (Token, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || Token(n).String() != text {
		return 0, fmt.Errorf("%w: %.64q: want a positive decimal number", ErrInvalidToken, text)
	}
	return Token(n), nil
}
