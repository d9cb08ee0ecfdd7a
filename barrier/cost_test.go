package barrier

import (
	"sync"
	"testing"
	"time"

	"github.com/fenceline/fenceline/internal/ask"
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
		apart           time.Duration // so that each sees those before
		most            float64
	}{{2, 50, 0, 2.6}, {2, 10, 10 * time.Millisecond, 2}, {10, 20, 0, 2.25}, {100, 10, 0, 2.15}} {
		name := etcdtest.Name(t)
		before, began := index(), time.Now()
		var wg sync.WaitGroup
		for i := range c.parties {
			b := New(sessions[i%2], name, c.parties)
			wg.Go(func() {
				for range c.rounds {
					ask.Sleep(t.Context(), time.Duration(i)*c.apart)
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
		t.Logf("%d parties, %v apart: %.2f proposals per party and round, %v per round", c.parties, c.apart, per, time.Since(began)/time.Duration(c.rounds))
		if per > c.most {
			t.Errorf("%.2f proposals per party and round, want at most %.2f", per, c.most)
		}
	}
}
