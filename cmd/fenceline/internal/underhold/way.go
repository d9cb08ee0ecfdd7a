package underhold

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/inspect"
	"github.com/fenceline/fenceline/internal/queue"
	"github.com/fenceline/fenceline/semaphore"
	"github.com/fenceline/fenceline/session"
)

// mostNamed is how many are named of those who are in the way together.
const mostNamed = 3

// FrontOf is the one line that f names, with the sessions of those in front.
func FrontOf(ctx context.Context, client *clientv3.Client, f *app.Named) (*inspect.Line, error) {
	kind, name := f.Kind, f.Name
	if f.Prefix != "" {
		kind, name = inspect.Prefix, f.Prefix
	}
	return inspect.Front(ctx, client, kind, name, inspect.WithNamespace(f.Namespace))
}

// InTheWay says in words who keeps the entry that hangs on lease from entering, or all who come if none does. Empty: nobody.
// mode is that of a rwlock.
func InTheWay(l *inspect.Line, lease clientv3.LeaseID, mode string) string {
	ahead := l.Ahead(lease)
	if l.Kind == app.SemaphoreKind {
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
	case l.Kind == app.GateKind:
		return "closed by " + first.String()
	case (l.Kind == app.ElectionKind || l.Kind == app.PrefixKind) && first.Standing == session.Holds:
		text = first.String() + " leads"
	}
	return text
}

// WaitingFor is inTheWay for one who waits: it says how many are ahead as well.
func WaitingFor(l *inspect.Line, lease clientv3.LeaseID, mode string) string {
	text := InTheWay(l, lease, mode)
	if ahead := l.Ahead(lease); len(ahead) > 1 && len(ahead) < len(l.Entries) && l.Kind != app.SemaphoreKind {
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
