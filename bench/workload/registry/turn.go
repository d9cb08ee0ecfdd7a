package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/bench"
)

var subjects = bench.Subjects{
	"fenceline": func() bench.Subject { return joiner("fenceline") },
	"etcd":      func() bench.Subject { return joiner("etcd") },
}

// joiner is a registry as a subject of turns.
type joiner string

func (j joiner) Name() string { return string(j) }

// Join opens what one process registers with, and a watcher of its own.
func (j joiner) Join(ctx context.Context, p bench.Place) (bench.Contender, error) {
	client, err := clientv3.New(p.Etcd)
	if err != nil {
		return nil, err
	}
	process, err := registries[string(j)].process(ctx, client, p.Prefix, p.TTL)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	watching, cancel := context.WithCancel(context.Background())
	c := &contender{client: client, process: process, cancel: cancel, view: newView(strings.ToLower(rand.Text()[:10]))}
	ready, failed := make(chan struct{}), make(chan error, 1)
	opened := sync.OnceFunc(func() { close(ready) })
	c.watching.Go(func() {
		failed <- registries[string(j)].watch(watching, client, p.Prefix, service, func(addrs map[string]bool) {
			c.view.set(addrs)
			opened()
		})
	})
	select {
	case <-ready:
		return c, nil
	case err = <-failed:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, c.Close(ctx))
}

type contender struct {
	client   *clientv3.Client
	process  process
	cancel   context.CancelFunc
	watching sync.WaitGroup
	view     *view
}

func (c *contender) Locker(context.Context, []string) (bench.Locker, error) {
	return &locker{contender: c}, nil
}

func (c *contender) Close(ctx context.Context) error {
	c.cancel()
	c.watching.Wait()
	return errors.Join(closing(ctx, c.process), c.client.Close())
}

// locker registers one instance at a time.
type locker struct {
	*contender
	addr string
}

func (l *locker) sight() *view { return l.view }

// Lock returns when the instance is seen.
func (l *locker) Lock(ctx context.Context, _ *bench.Turn) error {
	addr, seen := l.view.expect()
	if err := l.process.register(ctx, service, addr); err != nil {
		l.view.forget(addr)
		return err
	}
	l.addr = addr
	select {
	case <-seen:
		return nil
	case <-ctx.Done():
		l.view.forget(addr)
		return errors.Join(ctx.Err(), l.giveBack(ctx))
	}
}

// Unlock returns when it is not seen any more.
func (l *locker) Unlock(ctx context.Context) error {
	gone := l.view.dismiss(l.addr)
	if err := l.process.deregister(ctx, service, l.addr); err != nil {
		l.view.forget(l.addr)
		return err
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		l.view.forget(l.addr)
		return ctx.Err()
	}
}

// giveBack takes back what was registered and not seen in time.
func (l *locker) giveBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	return l.process.deregister(ctx, service, l.addr)
}

// view is what a contender's watcher shows of its own instances.
type view struct {
	id    string // of its addresses
	next  atomic.Int64
	flaps atomic.Int64

	mu   sync.Mutex
	here map[string]bool // that it shows
	mine map[string]*sighting
}

// sighting is of one instance, from before it comes until it has gone.
type sighting struct {
	seen, gone chan struct{}
	was        bool // seen
	leaves     bool
	unknown    bool // nobody knows whether it came or went
}

func newView(id string) *view {
	return &view{id: id, here: map[string]bool{}, mine: map[string]*sighting{}}
}

// expect makes an address that nobody has had, and returns when it is seen.
func (v *view) expect() (addr string, seen <-chan struct{}) {
	s := &sighting{seen: make(chan struct{}), gone: make(chan struct{})}
	addr = fmt.Sprintf("%s-%d.bench:80", v.id, v.next.Add(1))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mine[addr] = s
	return addr, s.seen
}

// dismiss says that it leaves, and returns when it has gone.
func (v *view) dismiss(addr string) (gone <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.mine[addr]
	if s.leaves = true; !v.here[addr] { // it flapped, and stays away
		v.left(addr, s)
	}
	return s.gone
}

func (v *view) left(addr string, s *sighting) {
	close(s.gone)
	delete(v.mine, addr)
}

// forget is for one of which nobody knows whether it came or went.
func (v *view) forget(addr string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.mine[addr]; s != nil {
		s.unknown = true
	}
}

// set is all that the watcher shows now.
func (v *view) set(addrs map[string]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for addr := range addrs {
		s := v.mine[addr]
		switch {
		case v.here[addr] || !strings.HasPrefix(addr, v.id):
		case s == nil: // it had gone
			v.flaps.Add(1)
		case s.unknown:
		case !s.was:
			s.was = true
			close(s.seen)
		}
	}
	for addr := range v.here {
		s := v.mine[addr]
		switch {
		case addrs[addr] || s == nil:
		case s.unknown:
			delete(v.mine, addr)
		case s.leaves:
			v.left(addr, s)
		default:
			v.flaps.Add(1)
		}
	}
	v.here = addrs
}

// flapped is how often something else was seen than what was there.
func (v *view) flapped() int64 { return v.flaps.Load() }
