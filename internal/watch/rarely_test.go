package watch_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// probes answers all that a stream asks, and notes when it asked for the probe.
type probes struct {
	mu sync.Mutex
	at []time.Time
}

func (p *probes) answer(c *call) {
	for {
		select {
		case req := <-c.requests:
			switch create, cancel := req.GetCreateRequest(), req.GetCancelRequest(); {
			case create != nil:
				if string(create.Key) == "probe" {
					p.mu.Lock()
					p.at = append(p.at, time.Now())
					p.mu.Unlock()
				}
				c.created(create.WatchId, 1)
			case cancel != nil:
				c.answers <- &pb.WatchResponse{Header: &pb.ResponseHeader{}, WatchId: cancel.WatchId, Canceled: true}
			}
		case <-c.ctx.Done():
			return
		}
	}
}

func (p *probes) times() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Time(nil), p.at...)
}

func TestSilentStreamOnWhichNobodyReliesIsAskedEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, srv := played(t)
		s.Watch("k", "", &seen{})
		c := <-srv.opened
		p := &probes{}
		go p.answer(c)
		time.Sleep(10 * time.Minute)
		at := p.times()
		if len(at) < 8 {
			t.Fatalf("asked %d times in 10 min", len(at))
		}
		for i := 1; i < len(at); i++ {
			gap, before := at[i].Sub(at[i-1]), time.Minute
			if i > 1 {
				before = at[i-1].Sub(at[i-2])
			}
			if i > 1 && i < 4 && gap < 3*before/2 || gap > time.Minute+time.Second {
				t.Errorf("question %d came %v after the last, that %v after the one before", i, gap, before)
			}
		}
		c.event(1, "k", 2)
		time.Sleep(70 * time.Second)
		if n := len(p.times()) - len(at); n < 3 {
			t.Errorf("asked %d times in the 70 s after an event", n)
		}
	})
}

func TestStreamThatIsDoubtedIsAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, srv := played(t)
		s.Watch("k", "", &seen{})
		p := &probes{}
		go p.answer(<-srv.opened)
		time.Sleep(5 * time.Minute)
		before := len(p.times())
		s.Doubt()
		synctest.Wait()
		if n := len(p.times()); n != before+1 {
			t.Errorf("asked %d times more", n-before)
		}
	})
}
