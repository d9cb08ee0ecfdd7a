package cli

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// mostNamed is how many are named of those who are in the way together.
const mostNamed = 3

// frontOf is the one line that f names, with the sessions of those in front.
func frontOf(ctx context.Context, client *clientv3.Client, f *named) (*inspect.Line, error) {
	kind, name := f.kind, f.name
	if f.prefix != "" {
		kind, name = inspect.Prefix, f.prefix
	}
	return inspect.Front(ctx, client, kind, name, inspect.WithNamespace(f.namespace))
}

// inTheWay says in words who keeps the entry that hangs on lease from entering, or all who come if none does. Empty: nobody.
// mode is that of a rwlock.
func inTheWay(l *inspect.Line, lease clientv3.LeaseID, mode string) string {
	ahead := l.Ahead(lease)
	if l.Kind == semaphoreKind {
		return unitsTaken(l, ahead)
	}
	if mode == queue.ReadValue {
		ahead = slices.DeleteFunc(slices.Clone(ahead), func(e inspect.Entry) bool { return e.Mode == queue.ReadValue })
	}
	if len(ahead) == 0 {
		return ""
	}
	first := ahead[0].Holder()
	text := first.Describe()
	switch {
	case l.Kind == gateKind:
		return "closed by " + first.String()
	case (l.Kind == electionKind || l.Kind == prefixKind) && first.Standing == session.Holds:
		text = first.String() + " leads"
	}
	return text
}

// waitingFor is inTheWay for one who waits: it says how many are ahead as well.
func waitingFor(l *inspect.Line, lease clientv3.LeaseID, mode string) string {
	text := inTheWay(l, lease, mode)
	if ahead := l.Ahead(lease); len(ahead) > 1 && len(ahead) < len(l.Entries) && l.Kind != semaphoreKind {
		text = fmt.Sprintf("%d ahead, %s", len(ahead), text)
	}
	return text
}

// unitsTaken says by whom.
func unitsTaken(l *inspect.Line, ahead []inspect.Entry) string {
	var taken int64
	full := &semaphore.ExhaustedError{}
	for i := range ahead {
		e := &ahead[i]
		taken += e.Units
		if e.State != inspect.Holds {
			continue
		}
		if full.Holding++; len(full.Holders) < mostNamed {
			full.Holders = append(full.Holders, e.Holder())
		}
	}
	by := full.By()
	if by == "" {
		return ""
	}
	return fmt.Sprintf("%d of %d units are held or waited for, held by %s", taken, l.Limit, by)
}
