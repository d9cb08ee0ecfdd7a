// Package keyspace says where things stand in etcd.
//
//	<namespace>session/<lease>               who a session is
//	<namespace>since/<key>                    since when an entry waits or holds
//	<namespace>broken/<revision>              who has broken the hold of that create revision
//	<namespace>asked/<lease>/<revision>       who wants that hold to be given back
//	<namespace><kind>/<name>/<lease>[-<slot>] an entry in a line
//
// A lease is written in lower-case hex without padding, as etcd's concurrency package writes it. A name is escaped so
// that it holds no slash: then no name's prefix can contain the entries of another, however names nest.
package keyspace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// MaxName is the longest name in bytes, before escaping.
const MaxName = 512

// ErrInvalidName is exported to users as session.ErrInvalidName.
var ErrInvalidName = errors.New("session: invalid name")

// CheckName says why name cannot be used, with kind ("lock") and the name in the text.
func CheckName(kind, name string) error {
	rule := ""
	switch {
	case name == "":
		rule = "it is empty"
	case len(name) > MaxName:
		rule = fmt.Sprintf("it has %d bytes, at most %d are allowed", len(name), MaxName)
	case !utf8.ValidString(name):
		rule = "it is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		rule = "it contains a control character"
	default:
		return nil
	}
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	return fmt.Errorf("%w: %s %q: %s", ErrInvalidName, kind, name, rule)
}

var (
	escaper   = strings.NewReplacer("%", "%25", "/", "%2F")
	unescaper = strings.NewReplacer("%25", "%", "%2F", "/")
)

// Escape makes name one element of a path; Unescape is its inverse.
func Escape(name string) string   { return escaper.Replace(name) }
func Unescape(path string) string { return unescaper.Replace(path) }

// Line is the prefix of all entries of one name.
func Line(namespace, kind, name string) string {
	return namespace + kind + "/" + Escape(name) + "/"
}

// Sessions is the prefix of all sessions' records; as a key, it is nobody's.
func Sessions(namespace string) string { return namespace + "session/" }

// Session is the key of a session's record.
func Session(namespace string, lease clientv3.LeaseID) string {
	return Sessions(namespace) + Lease(lease)
}

// Notes is the prefix of all notes of since when entries wait and hold: see package since.
func Notes(namespace string) string { return namespace + "since/" }

// Since is the key of the note of an entry.
func Since(namespace, entry string) string { return Notes(namespace) + Escape(entry) }

// Broken is the key of the record of who has broken the hold whose entry was created at revision, and why: see package inspect.
func Broken(namespace string, revision int64) string {
	return BrokenHolds(namespace) + strconv.FormatInt(revision, 10)
}

// BrokenHolds is the prefix of all such records, and Requests that of all requests to holders.
func BrokenHolds(namespace string) string { return namespace + "broken/" }
func Requests(namespace string) string    { return namespace + "asked/" }

// Asked is the prefix of requests to holders whose entries came with lease; behind it is the entry's create revision.
func Asked(namespace string, lease clientv3.LeaseID) string {
	return namespace + "asked/" + Lease(lease) + "/"
}

// Lease is a lease as it stands in a key.
func Lease(id clientv3.LeaseID) string { return strconv.FormatInt(int64(id), 16) }

// Entry is the key of a place in the line with that prefix. Slot 0 is the form that etcd's concurrency package uses.
func Entry(prefix string, lease clientv3.LeaseID, slot int) string {
	key := prefix + Lease(lease)
	if slot > 0 {
		key += "-" + strconv.Itoa(slot)
	}
	return key
}

// Large begins the last part of the key of an entry that stands for more than one unit of a semaphore.
const Large = "+"

// ParseEntry reads the rest of an entry's key after its line's prefix, but for its priority. ok is false for a key of
// foreign shape, which stands in the line all the same.
func ParseEntry(rest string) (lease clientv3.LeaseID, slot int, ok bool) {
	rest, _, _ = strings.Cut(rest, "~")
	id, tail, slotted := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(id, 16, 64)
	if err != nil || n <= 0 {
		return 0, 0, false
	}
	if slotted {
		slot, err = strconv.Atoi(tail)
		if err != nil || slot <= 0 {
			return 0, 0, false
		}
	}
	lease = clientv3.LeaseID(n)
	return lease, slot, Entry("", lease, slot) == rest // and not the same number written otherwise
}

// PrioritySuffix is what the key of a candidate with a priority ends with; zero has none.
func PrioritySuffix(priority int) string {
	if priority == 0 {
		return ""
	}
	return "~" + strconv.Itoa(priority)
}

// Priority reads it. A stranger's key has none.
func Priority(key string) int {
	rest := key[strings.LastIndexByte(key, '/')+1:]
	_, number, has := strings.Cut(rest, "~")
	n, err := strconv.Atoi(number)
	if _, _, ours := ParseEntry(rest); !has || !ours || err != nil {
		return 0
	}
	return n
}

// transfer marks the key by which a leader names the candidate that is to lead next. It is no candidate.
const transfer = "next~"

// Transfer is that key, for the candidate whose key is to.
func Transfer(prefix, to string) string {
	return prefix + transfer + strings.TrimPrefix(to, prefix)
}

// Transferred reads whom a key names, if it is such a key.
func Transferred(prefix, key string) (to string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix+transfer)
	return prefix + rest, ok
}

// CheckPrefix says why a line cannot stand under a raw prefix: the sessions' own records would stand in it.
func CheckPrefix(namespace, prefix string) error {
	if err := CheckName("prefix", prefix); err != nil {
		return err
	}
	records := Sessions(namespace)
	if strings.HasPrefix(records, prefix+"/") || strings.HasPrefix(prefix+"/", records) {
		return fmt.Errorf("%w: prefix %q: the session's own records stand under %q", ErrInvalidName, prefix, records)
	}
	return nil
}
