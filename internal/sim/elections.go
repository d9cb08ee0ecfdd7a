package sim

import (
	"context"
	"sync"
	"time"

	"github.com/fenceline/fenceline/election"
	"github.com/fenceline/fenceline/fence"
)

func (a *actor) election() {
	topic := a.topic()
	var opts []election.Option
	if a.process.id%2 == 1 {
		opts = append(opts, election.WithPriority(a.process.id))
	}
	e := election.New(a.session(), topic, opts...)
	ctx, cancel := a.patience()
	defer cancel()
	over := a.wait(topic)
	t, err := e.Campaign(ctx, a.name)
	waited := over(err)
	if !a.got(err) {
		return
	}
	a.held(&hold{what: topic, ctx: t.Context(), lease: a.session().Lease(), token: t.Token(), waited: waited}, t.Guard)
	switch a.r.IntN(4) {
	case 0:
		a.release(func(ctx context.Context) error { return t.Proclaim(ctx, a.name+" still") })
	case 1:
		if all, err := election.Candidates(ctx, a.process.client, topic); err == nil && len(all) > 1 {
			a.release(func(ctx context.Context) error { return t.TransferTo(ctx, all[len(all)-1].Key) })
		}
	}
	a.release(t.Resign)
}

// lead has Lead stand for it, for some time or some terms.
func (a *actor) lead() {
	topic := "election" + a.topic()[len(a.kind):] // against those who campaign by themselves
	ctx, cancel := context.WithTimeout(a.process.ctx, time.Duration(a.r.Int64N(int64(20*time.Second))))
	defer cancel()
	// It ends with ctx, or with what cannot be had; who leads, the world checks.
	_ = election.New(a.session(), topic).Lead(ctx, a.name, func(ctx context.Context, t *election.Term) error {
		a.held(&hold{what: topic, ctx: t.Context(), untilLeft: true, lease: a.session().Lease(), token: t.Token()}, t.Guard)
		a.s.world.count("led")
		return nil
	})
}

// observer is one who looks at an election from outside, for the whole scenario.
type observer struct {
	topic, who string

	mu   sync.Mutex
	last election.Leader
}

func (o *observer) watch(ctx context.Context, s *scenario, pr *process) {
	highest := fence.Token(0)
	for l, err := range election.Observe(ctx, pr.client, o.topic) {
		if err != nil {
			s.world.count("observe: refused")
			continue
		}
		if l.Key != "" && l.Token < highest && s.world.restores() == 0 {
			s.world.complain("%s observes the leader of %s with token %d, after %d", o.who, o.topic, l.Token, highest)
		}
		highest = max(highest, l.Token)
		s.world.count("observed")
		o.mu.Lock()
		o.last = l
		o.mu.Unlock()
	}
}

// seesNobody says whether nobody leads, as far as it knows.
func (o *observer) seesNobody() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last.Key == ""
}
