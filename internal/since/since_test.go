package since_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fencetest"
	"github.com/fenceline/fenceline/internal/since"
	"github.com/fenceline/fenceline/lock"
	"github.com/fenceline/fenceline/session"
)

// notes are those that stand, by entry.
func notes(t *testing.T, etcd *fencetest.Etcd) map[string]since.Note {
	t.Helper()
	all := map[string]since.Note{}
	for _, kv := range etcd.Keys() {
		if entry, ok := strings.CutPrefix(string(kv.Key), "fenceline/since/"); ok {
			var n since.Note
			if err := json.Unmarshal(kv.Value, &n); err != nil {
				t.Fatal(err)
			}
			if kv.Lease == 0 {
				t.Errorf("the note of %s has no lease", entry)
			}
			all[strings.ReplaceAll(entry, "%2F", "/")] = n
		}
	}
	return all
}

func inBubble(t *testing.T, f func(t *testing.T, etcd *fencetest.Etcd)) {
	synctest.Test(t, func(t *testing.T) { f(t, fencetest.Start(t)) })
}

func acquire(t *testing.T, m *lock.Mutex) *lock.Lock {
	t.Helper()
	l, err := m.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWhatIsShorterThanASecondLeavesNoNote(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		m := lock.New(etcd.Session(t), "x")
		before := etcd.Revision()
		for range 3 {
			l := acquire(t, m)
			time.Sleep(900 * time.Millisecond)
			if err := l.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		if n := etcd.Revision() - before; n != 6 {
			t.Errorf("%d writes for three locks and three unlocks", n)
		}
	})
}

func TestNoteSaysSinceWhenOneHasWaitedAndHeldAndGoesWithTheEntry(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		a, b := lock.New(etcd.Session(t), "x"), lock.New(etcd.Session(t), "x")
		held := acquire(t, a)
		began := time.Now()
		time.Sleep(500 * time.Millisecond)
		waited := time.Now()
		got := make(chan *lock.Lock, 1)
		go func() {
			l, err := b.Acquire(session.WithOwner(t.Context(), "report 7"))
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
		time.Sleep(5 * time.Second)
		all := notes(t, etcd)
		if len(all) != 2 {
			t.Fatalf("%v", all)
		}
		for _, n := range all {
			switch {
			case n.Owner == "report 7":
				if n.Waits.Sub(waited).Abs() > 100*time.Millisecond || !n.Holds.IsZero() {
					t.Errorf("who waits: %+v, since %v", n, waited)
				}
			case n.Holds.Sub(began).Abs() > 100*time.Millisecond:
				t.Errorf("who holds: %+v, since %v", n, began)
			}
		}
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		granted := time.Now()
		second := <-got
		time.Sleep(2 * time.Second)
		all = notes(t, etcd)
		if len(all) != 1 {
			t.Fatalf("%v", all)
		}
		for _, n := range all {
			if n.Holds.Sub(granted).Abs() > 100*time.Millisecond || n.Waits.Sub(waited).Abs() > 100*time.Millisecond {
				t.Errorf("%+v, granted at %v", n, granted)
			}
		}
		if err := second.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if all := notes(t, etcd); len(all) > 0 {
			t.Errorf("after the release: %v", all)
		}
	})
}

func TestSetsAndTermsHaveANoteThatGoesWithThem(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		set, err := lock.AcquireAll(t.Context(), lock.New(s, "x"), lock.New(s, "y"))
		if err != nil {
			t.Fatal(err)
		}
		term, err := election.New(s, "e").Campaign(t.Context(), "me")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if all := notes(t, etcd); len(all) != 2 {
			t.Errorf("of a set and a term: %v", all)
		}
		if err := set.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := term.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
		if all := notes(t, etcd); len(all) > 0 {
			t.Errorf("after the end: %v", all)
		}
	})
}

func TestManyNotesShareTransactions(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		s := etcd.Session(t)
		for i := range 100 {
			acquire(t, lock.New(s, strings.Repeat("x", i+1)))
		}
		before := etcd.Revision()
		time.Sleep(3 * time.Second)
		if n := etcd.Revision() - before; n > 6 || len(notes(t, etcd)) != 100 {
			t.Errorf("%d writes for %d notes of 100", n, len(notes(t, etcd)))
		}
	})
}

func TestDoGivesItsFunctionAnOwnerAndKeepsOneThatIsThere(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		m := lock.New(etcd.Session(t), "x")
		owner := func(ctx context.Context) (inside string) {
			if err := m.Do(ctx, func(ctx context.Context, _ *lock.Lock) error {
				inside = since.OwnerOf(ctx)
				time.Sleep(2 * time.Second)
				for _, n := range notes(t, etcd) {
					if n.Owner != inside {
						t.Errorf("the note has owner %q, the function %q", n.Owner, inside)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return inside
		}
		first, second := owner(t.Context()), owner(t.Context())
		if first == "" || first == second {
			t.Errorf("owners %q and %q", first, second)
		}
		if got := owner(session.WithOwner(t.Context(), "me")); got != "me" {
			t.Errorf("owner %q", got)
		}
	})
}

// A role may lack the right to notes from the start, or lose it while one stands: then it is the lease that ends the note.
func TestWithoutTheRightToNotesHoldsAreGivenBackAllTheSame(t *testing.T) {
	inBubble(t, func(t *testing.T, etcd *fencetest.Etcd) {
		admin, ctx := etcd.Client(t), t.Context()
		grant := func(prefix string) error {
			_, err := admin.RoleGrantPermission(ctx, "app", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		}
		const withNotes = "fenceline/since/"
		for _, do := range []func() error{
			func() error { _, err := admin.RoleAdd(ctx, "app"); return err },
			func() error { return grant("fenceline/lock/") },
			func() error { return grant("fenceline/session/") },
			func() error { _, err := admin.UserAdd(ctx, "app", "secret"); return err },
			func() error { _, err := admin.UserGrantRole(ctx, "app", "app"); return err },
			func() error { _, err := admin.RoleAdd(ctx, "root"); return err },
			func() error { _, err := admin.UserAdd(ctx, "root", "r"); return err },
			func() error { _, err := admin.UserGrantRole(ctx, "root", "root"); return err },
			func() error { _, err := admin.AuthEnable(ctx); return err },
		} {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}
		as := func(user, password string) *clientv3.Client {
			return etcd.Client(t, func(c *clientv3.Config) { c.Username, c.Password = user, password })
		}
		admin = as("root", "r")
		s, err := session.Open(ctx, as("app", "secret"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(ctx)
		m := lock.New(s, "x")
		holds := func(meanwhile func()) {
			t.Helper()
			l := acquire(t, m)
			time.Sleep(3 * time.Second)
			meanwhile()
			if err := l.Release(ctx); err != nil {
				t.Error(err)
			}
		}
		holds(func() {
			if n := len(notes(t, etcd)); n > 0 {
				t.Errorf("%d notes without the right", n)
			}
		})
		time.Sleep(2 * time.Minute) // it was refused
		if err := grant(withNotes); err != nil {
			t.Fatal(err)
		}
		holds(func() {
			if n := len(notes(t, etcd)); n != 1 {
				t.Errorf("%d notes with the right", n)
			}
			if _, err := admin.RoleRevokePermission(ctx, "app", withNotes, clientv3.GetPrefixRangeEnd(withNotes)); err != nil {
				t.Fatal(err)
			}
		})
	})
}
