package elect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// party is the candidates of one subject in one election.
type party struct {
	r       *runner
	spec    spec
	members []*candidate
	killed  []*candidate
	events  chan event
	done    chan struct{} // closed when nobody reads events any more

	leader  *candidate // who said so last; nil if nobody has
	unasked int
}

// form starts the candidates, and returns when all stand and one leads.
func (r *runner) form(ctx context.Context, subject string, ttl time.Duration) (*party, error) {
	r.parties++
	p := &party{
		r: r,
		spec: spec{Subject: subject, Prefix: fmt.Sprintf("%s%d/", r.prefix, r.parties), TTL: ttl,
			Username: r.Etcd.Username, Password: r.Etcd.Password},
		events: make(chan event),
		done:   make(chan struct{}),
	}
	for range r.Candidates {
		if err := p.join(); err != nil {
			p.dissolve()
			return nil, err
		}
	}
	if err := p.settle(ctx); err != nil {
		p.dissolve()
		return nil, err
	}
	return p, nil
}

func (p *party) join() error {
	c, err := spawn(p.r.Command(), p.spec, p.events, p.done)
	if err == nil {
		p.members = append(p.members, c)
	}
	return err
}

// remove kills one, whose lease lives on.
func (p *party) remove(c *candidate) {
	c.kill()
	p.members = slices.DeleteFunc(p.members, func(m *candidate) bool { return m == c })
	p.killed = append(p.killed, c)
}

func (p *party) dissolve() {
	close(p.done)
	var all sync.WaitGroup
	for _, c := range p.members {
		all.Go(c.end)
	}
	all.Wait()
	for _, c := range p.killed {
		<-c.ended
	}
}

// note takes in what was not asked for. A leader whose term ended by itself is replaced: it may not know.
func (p *party) note(e event) error {
	switch {
	case !slices.Contains(p.members, e.who): // it was killed
		return nil
	case e.err != nil:
		return e.err
	case e.what != leads:
		return nil
	}
	old := p.leader
	p.leader = e.who
	if old == nil {
		return nil
	}
	p.unasked++
	p.remove(old)
	return p.join()
}

// settleWithin is for processes to start, and for leases of dead ones to run out.
const settleWithin = 30 * time.Second

// settle returns when all stand and one leads.
func (p *party) settle(ctx context.Context) error {
	within := settleWithin + 2*p.spec.TTL
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("bench: %s: candidates do not all stand after %v", p.spec.Subject, within))
	defer cancel()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case e := <-p.events:
			if err := p.note(e); err != nil {
				return err
			}
		case <-poll.C:
			if p.leader == nil {
				continue
			}
			n, err := p.standing(ctx)
			if err == nil && n == p.r.Candidates {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (p *party) standing(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resp, err := p.r.client.Get(ctx, p.line(), clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return int(resp.Count), nil
}

func (p *party) line() string { return p.spec.Prefix + line + "/" }

// errUnasked: the term ended before it was told to. What was being measured is measured again.
var errUnasked = errors.New("bench: a term ended by itself")

// resign has the leader resign, and answers how long it took until the next one led.
func (p *party) resign(ctx context.Context) (time.Duration, error) {
	old := p.leader
	if _, err := io.WriteString(old.stdin, resign+"\n"); err != nil {
		return 0, fmt.Errorf("bench: %s: tell the leader to resign: %w", p.spec.Subject, err)
	}
	var called time.Time
	next, err := p.next(ctx, old, func(e event) bool {
		if e.who == old && e.what == resigned {
			called = e.at
		}
		return !called.IsZero()
	})
	if err != nil {
		return 0, err
	}
	p.leader = next.who
	if next.at.Before(called) {
		p.unasked++
		return 0, errUnasked
	}
	return next.at.Sub(called), nil
}

// kill kills the leader, and answers when. The party is then one less, and has no leader.
func (p *party) kill() (old *candidate, at time.Time) {
	old = p.leader
	at = time.Now()
	p.remove(old)
	return old, at
}

// succeed answers how long it took until the next one led, and has another join.
func (p *party) succeed(ctx context.Context, old *candidate, killed time.Time) (time.Duration, error) {
	next, err := p.next(ctx, old, func(event) bool { return true })
	if err != nil {
		return 0, err
	}
	p.leader = next.who
	if err := p.join(); err != nil {
		return 0, err
	}
	if next.at.Before(killed) {
		p.unasked++
		return 0, errUnasked
	}
	return next.at.Sub(killed), nil
}

// next waits until another than old leads, and complete is content with what else was said.
func (p *party) next(ctx context.Context, old *candidate, complete func(event) bool) (first event, err error) {
	within := settleWithin + 3*p.spec.TTL
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("bench: %s: nobody leads after %v", p.spec.Subject, within))
	defer cancel()
	for {
		select {
		case e := <-p.events:
			if !slices.Contains(p.members, e.who) {
				continue
			}
			if e.err != nil {
				return first, e.err
			}
			if e.what == leads && e.who != old && first.who == nil {
				first = e
			}
			if complete(e) && first.who != nil {
				return first, nil
			}
		case <-ctx.Done():
			return first, context.Cause(ctx)
		}
	}
}
