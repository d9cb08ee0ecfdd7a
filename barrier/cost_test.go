package barrier

import (
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/etcdtest"
	"github.com/fenceline/fenceline/session"
)

func TestAPartyCostsAboutTwoProposalsPerRound(t *testing.T) {
	m := etcdtest.Start(t)
	client := m.Client(t)
	index := func() uint64 {
		resp, err := client.Status(t.Context(), m.Endpoint())
		if err != nil {
			t.Fatal(err)
		}
		return resp.RaftIndex
	}
	sessions := []*session.Session{opened(t, client), opened(t, client)}
	for _, c := range []struct {
		parties, rounds int
		inTurn          bool // each enters when those before it stand
		most            float64
	}{{2, 50, false, 2.6}, {2, 10, true, 2}, {10, 20, false, 2.25}, {100, 10, false, 2.15}} {
		name := etcdtest.Name(t)
		before, began := index(), time.Now()
		var wg sync.WaitGroup
		for i := range c.parties {
			b := New(sessions[i%2], name, c.parties)
			wg.Go(func() {
				for range c.rounds {
					if c.inTurn && !stand(t, b, i) {
						return
					}
					p, err := b.Enter(t.Context())
					if err == nil {
						err = p.Leave(t.Context())
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		per := float64(index()-before) / float64(c.parties*c.rounds)
		t.Logf("%d parties, in turn %v: %.2f proposals per party and round, %v per round", c.parties, c.inTurn, per, time.Since(began)/time.Duration(c.rounds))
		if per > c.most {
			t.Errorf("%.2f proposals per party and round, want at most %.2f", per, c.most)
		}
	}
}

// stand waits until so many parties wait in b.
func stand(t *testing.T, b *Barrier, n int) bool {
	for {
		s, err := b.at.readAt(t.Context(), 0)
		if err != nil {
			t.Error(err)
			return false
		}
		if len(s.waiting()) == n {
			return true
		}
		etcd.Sleep(t.Context(), time.Millisecond)
	}
}
