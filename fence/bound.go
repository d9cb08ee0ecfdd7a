package fence

import "fmt"

// GateOption changes a Gate from its defaults.
type GateOption func(*Gate)

// NewGate is a Gate with options; without any it is the zero Gate. An invalid option is an error of the first Do or
// Read.
func NewGate(opts ...GateOption) *Gate {
	g := &Gate{}
	for _, opt := range opts {
		opt(g)
	}
	return g
}

// WithMaxNames bounds the names that the Gate remembers to n, at least 1: beyond that it forgets the least recently used. Default: no
// bound. Names that somebody is inside of, or waits for, are never forgotten, and may for that time be more than n.
//
// A stale token is refused all the same. Of the names it forgot the Gate keeps two numbers: the highest token of a
// writer and the highest of anyone. A name it does not remember, be it forgotten or new, is judged as if they were its
// own. Another name's token is a valid floor because all tokens rest on the revisions of one etcd history: whoever
// queues after a token was created, under any name, gets a larger one.
//
// So the mistakes are all on one side. The Gate can refuse a holder that is still valid: one that queued for its lock
// before the last holder of some forgotten name did, and whose own name is not remembered, because n other names were
// used since it was last here, or because it is here for the first time. StaleError.Highest is then another name's
// token. Such a holder must release and acquire anew, which gives it a token above all that the Gate has seen. To make
// this rare, let n be well above the number of names that are held or queued for at one time.
//
// Names whose tokens come from different etcd clusters need a Gate each: the floor of the cluster with the higher
// revisions would shut out the other.
func WithMaxNames(n int) GateOption {
	return func(g *Gate) {
		g.maxNames, g.err = n, nil
		if n < 1 {
			g.err = fmt.Errorf("fence: WithMaxNames(%d): want at least 1", n)
		}
	}
}

// occupy keeps m from being forgotten until leave.
func (g *Gate) occupy(m *marks) {
	if m.place != nil {
		g.idle.Remove(m.place)
		m.place = nil
	}
	m.inside++
	g.forget()
}

func (g *Gate) leave(m *marks) {
	if g.maxNames == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m.inside--
	if m.inside == 0 {
		m.place = g.idle.PushFront(m)
	}
	g.forget()
}

// forget needs none of the marks' own locks: nobody is inside, and nobody can enter but under mu.
func (g *Gate) forget() {
	for len(g.names) > g.maxNames && g.idle.Len() > 0 {
		m := g.idle.Remove(g.idle.Back()).(*marks)
		delete(g.names, m.name)
		g.floor.write = max(g.floor.write, m.write)
		g.floor.any = max(g.floor.any, m.any)
	}
}
