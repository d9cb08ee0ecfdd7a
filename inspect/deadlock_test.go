package inspect

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/keyspace"
)

// scene is keys in etcd, drawn line by line: "lock a: A B" has an entry of owner A and behind it one of B. A name in small letters is no
// owner's: its session is named so. "2×" before a name is for units of a semaphore, "r" and "w" are for modes.
func scene(t *testing.T, lines ...string) *Snapshot {
	t.Helper()
	revision := int64(0)
	var kvs []*mvccpb.KeyValue
	leases := map[string]int64{}
	put := func(key, value string, lease int64) int64 {
		revision++
		kvs = append(kvs, kv(revision, lease, key, value))
		return revision
	}
	for _, line := range lines {
		head, entries, _ := strings.Cut(line, ": ")
		kind, name, _ := strings.Cut(head, " ")
		prefix := "fenceline/" + kind + "/" + name + "/"
		if kind == Semaphore {
			var limit string
			name, limit, _ = strings.Cut(name, "/")
			prefix = "fenceline/semaphore/" + name + "/"
			put(prefix+"limit", limit, 0)
			prefix += "line/"
		}
		for i, who := range strings.Fields(entries) {
			value := ""
			if before, rest, ok := strings.Cut(who, "×"); ok {
				value, who = before, rest
			}
			value = map[string]string{"r": "read", "w": "write"}[value] + map[bool]string{true: value}[kind == Semaphore]
			if leases[who] == 0 {
				leases[who] = int64(len(leases) + 1)
			}
			key := prefix + fmt.Sprintf("%x-%d", leases[who], i+1)
			create := put(key, value, leases[who])
			if strings.ToUpper(who) == who {
				put(keyspace.Since("fenceline/", key), fmt.Sprintf(`{"revision":%d,"owner":%q,"waits":"2026-01-02T03:04:05Z"}`, create, who), leases[who])
			}
		}
	}
	o := options{namespace: "fenceline/"}
	return o.snapshot(revision, kvs)
}

func TestDeadlocks(t *testing.T) {
	for _, test := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"nobody waits", []string{"lock a: A", "lock b: B"}, nil},
		{"one waits for another", []string{"lock a: A B", "lock b: B"}, nil},
		{"two, crosswise", []string{"lock a: A B", "lock b: B A"}, []string{"A→B B→A"}},
		{"three", []string{"lock a: A B", "lock b: B C", "lock c: C A"}, []string{"A→C C→B B→A"}},
		{"who waits behind a circle is not in it", []string{"lock a: A B C", "lock b: B A", "lock c: C D"}, []string{"A→B B→A"}},
		{"two circles", []string{"lock a: A B", "lock b: B A", "lock c: C D", "lock d: D C"}, []string{"A→B B→A", "C→D D→C"}},
		{"with oneself, through another session", []string{"lock a: A A"}, []string{"A→A"}},
		{"somebody in between, who waits as well", []string{"lock a: A X B", "lock b: B A"}, []string{"A→B B→A"}},
		{"in the way stands one who only waits", []string{"lock a: C B A", "lock b: A C", "lock c: B"}, []string{"A→C C→A"}},
		{"readers wait for no readers", []string{"rwlock a: r×A r×B", "rwlock b: r×B r×A"}, nil},
		{"a reader behind a writer who waits", []string{"rwlock a: r×A w×B r×C", "lock b: C A"}, []string{"A→C C→B B→A"}},
		{"of a semaphore somebody may give back", []string{"semaphore s/2: 1×A 1×X 1×B", "lock b: B A"}, nil},
		{"of a semaphore nobody will", []string{"semaphore s/2: 1×A 1×C 1×B", "lock b: B A C"}, []string{"A→B B→A"}},
		{"units that fit", []string{"semaphore s/3: 2×A 1×B", "lock b: B A"}, nil},
		{"sessions, where nobody says for whom", []string{"lock a: p q", "lock b: q p"}, []string{"possible session 1→session 2 session 2→session 1"}},
		{"one goroutine waits for another of its process", []string{"semaphore s/1: 1×p 1×p", "lock a: p"}, nil},
		{"a known owner and a session", []string{"lock a: A q", "lock b: q A"}, []string{"possible A→session 2 session 2→A"}},
		{"owners in two sessions are one", []string{"lock a: A p", "lock b: p"}, nil},
		{"an exact one is not said again as possible", []string{"lock a: A B", "lock b: B A", "lock c: p"}, []string{"A→B B→A"}},
		{"others than lines do not count", []string{"barrier a: A B", "other b: B A"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := scene(t, test.lines...)
			var got []string
			for _, d := range s.Deadlocks() {
				var waits []string
				if d.Possible {
					waits = append(waits, "possible")
				}
				for _, w := range d.Waits {
					waits = append(waits, w.Owner+"→"+w.For)
				}
				got = append(got, strings.Join(waits, " "))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q, in\n%s", got, test.want, s)
			}
		})
	}
}

func TestDeadlockIsConfirmedByTheSameEntriesOnly(t *testing.T) {
	before := scene(t, "lock a: A B", "lock b: B A")
	deadlocks := before.Deadlocks()
	if len(before.Confirmed(deadlocks)) != 1 {
		t.Error("not confirmed by the same")
	}
	if again := scene(t, "lock x: X", "lock a: A B", "lock b: B A"); len(again.Confirmed(deadlocks)) != 0 { // at other revisions
		t.Error("confirmed by others")
	}
	if text := deadlocks[0].String(); !strings.Contains(text, "A (unknown, lease 1) waits for lock b, behind B") {
		t.Error(text)
	}
}
