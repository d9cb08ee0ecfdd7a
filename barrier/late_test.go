package barrier

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fenceline/fenceline/fencetest"
)

// A party whose ctx ends, and who then hears that its round was full, is inside: its key is not another party's, who would take the
// entry for its own if it does not know whether its request got through.
func TestKeyOfAPartyThatWasLateIsNotUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := fencetest.Start(t)
		bounded, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		late, other := etcd.Node("late"), etcd.Session(t)
		s := late.Session(t)
		ctx, cancel := context.WithCancel(bounded)
		type result struct {
			p   *Pass
			err error
		}
		entered := make(chan result, 1)
		go func() {
			p, err := New(s, "x", 2).Enter(ctx)
			entered <- result{p, err}
		}()
		synctest.Wait()
		late.Silence() // it does not hear that the round is full
		theirs, err := New(other, "x", 2).Enter(bounded)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		in := <-entered
		if in.err != nil {
			t.Fatal(in.err)
		}
		if err := in.p.ctx.Err(); err != nil {
			t.Fatal(err)
		}
		lost := false
		etcd.Decide(func(r fencetest.Request) (f fencetest.Fate) {
			if r.Method == "Txn" && r.Node == "late" && !lost {
				lost = true
				f.Lost, f.Broken = true, true
			}
			return f
		})
		next := make(chan result, 1)
		go func() {
			p, err := New(s, "x", 2).Enter(bounded)
			next <- result{p, err}
		}()
		time.Sleep(time.Second) // of virtual time: the request that was lost is sent again
		parties := 0
		for _, kv := range etcd.Keys() {
			if strings.HasPrefix(string(kv.Key), "fenceline/barrier/x/in/") {
				parties++
			}
		}
		if parties != 3 {
			t.Errorf("%d parties are in etcd; want one more than the two inside\n%s", parties, etcd.Transcript())
		}
		go func() { _ = theirs.Leave(bounded) }()
		_ = in.p.Leave(bounded)
		if _, err := New(other, "x", 2).Enter(bounded); err != nil {
			t.Error(err)
		}
		if r := <-next; r.err != nil || r.p.Round() != 2 {
			t.Errorf("round %v, %v", r.p.Round(), r.err)
		}
	})
}
