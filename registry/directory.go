package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fenceline/fenceline/internal/etcd"
)

var (
	// ErrNoInstance: nobody offers the service, or nobody who is Up.
	ErrNoInstance = errors.New("registry: no instance")
	errClosed     = errors.New("registry: the directory is closed")
)

// Entry is an instance as a Directory shows it.
type Entry struct {
	Instance
	// Stale: its entry has gone from etcd, and is shown all the same; or etcd has not been heard of since the start, and it
	// comes from a snapshot.
	Stale bool
}

// Directory is a live copy of all services under one prefix. Reading it costs no request and waits for nobody. It is safe
// for concurrent use, and meant to be one per process.
//
// While etcd is away it keeps the last good state; Healthy tells. When more than a fifth of a service, of five
// instances at least, or all of two at least, vanish within 15 s without having deregistered, that looks less like deaths than like trouble
// with leases: an etcd that was away for too long, a network that is. Then those that are missing stay, marked as
// Stale, until they come back, or for a minute at most, and are picked as before. That costs calls to those that have died after
// all, which callers have to survive anyway. WithPreservation changes the numbers.
type Directory struct {
	opts   options
	cancel context.CancelFunc
	loops  sync.WaitGroup
	closed atomic.Bool
	ended  chan struct{} // closed at Close

	shown atomic.Pointer[map[string]*listing] // what it points to is never written to

	mu       sync.Mutex
	news     chan struct{} // closed and replaced at each change
	services map[string]*members
	bad      badEntries
	again    map[string]time.Time // when services are to be settled
	heard    bool                 // etcd has told everything, once at least
	fed      bool                 // and of an instance: the file is not replaced by nothing
	trouble  error                // why shown may be getting old
	since    time.Time            // of the trouble
	final    bool                 // it will not pass: the client was closed
	dirty    bool                 // the file does not show what is shown
}

// OpenDirectory reads everything under the prefix (see At), and goes on to follow it until Close. It returns when it has
// read it. A refusal by etcd is an error at once; later it is a trouble that may pass (see Healthy), and etcd is asked
// again every ten seconds or so. An etcd that cannot be reached is reported when ctx ends, or after 5 s when ctx has no deadline; with
// WithSnapshot, and a file from an earlier time, that is no error: the instances of the file are there, marked as
// Stale, until etcd is heard of. A file at its path that is no snapshot of this prefix is an error, and stays as it is; so is a folder
// where none can be written.
//
// An invalid option is an error before any request. The caller closes the client after the Directory.
func OpenDirectory(ctx context.Context, client *clientv3.Client, opts ...DirectoryOption) (*Directory, error) {
	d, err := open(ctx, client, opts)
	if err != nil {
		return nil, fmt.Errorf("registry: open directory: %w", err)
	}
	return d, nil
}

func open(ctx context.Context, client *clientv3.Client, opts []DirectoryOption) (*Directory, error) {
	r, o, err := rangeOf(client, "", opts, DirectoryOption.directory)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d := &Directory{opts: o, ended: make(chan struct{}), news: make(chan struct{}), services: map[string]*members{}, bad: badEntries{log: o.log}, again: map[string]time.Time{}}
	d.shown.Store(&map[string]*listing{})
	if err := d.opts.checkFile(); err != nil {
		return nil, err
	}
	fileErr := d.restore()
	following, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.loops.Go(func() { d.follow(following, r) })
	d.loops.Go(func() { d.tend(following) })
	if err := d.awaitFirst(ctx, fileErr); err != nil {
		d.cancel()
		d.loops.Wait()
		return nil, err
	}
	return d, nil
}

// awaitFirst waits until there is something to show.
func (d *Directory) awaitFirst(ctx context.Context, fileErr error) error {
	ctx, cancel := etcd.Bounded(ctx)
	defer cancel()
	restored := d.opts.file != "" && fileErr == nil
	for {
		d.mu.Lock()
		heard, trouble, final, news := d.heard, d.trouble, d.final, d.news
		d.mu.Unlock()
		switch {
		case heard:
			return nil
		case final, etcd.Final(trouble): // a file does not help whoever may not read
			return errors.Join(trouble, fileErr)
		case trouble != nil && restored:
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			if restored {
				return nil
			}
			err := context.Cause(ctx)
			if trouble != nil {
				err = fmt.Errorf("%w: %w", err, trouble)
			}
			return errors.Join(err, fileErr)
		}
	}
}

// Instances is who offers a service, sorted by ID, whatever their status; nobody is no error. It reads memory, and asks nobody. The
// slice is shared with others, and must not be written to. The only error is that the Directory is closed, or that
// ctx has ended.
func (d *Directory) Instances(ctx context.Context, service string) ([]Entry, error) {
	l, err := d.listing(ctx, service)
	if l == nil {
		return nil, err
	}
	return l.all(), nil
}

func (d *Directory) listing(ctx context.Context, service string) (*listing, error) {
	switch {
	case d.closed.Load():
		return nil, errClosed
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case d.opts.only != nil && service != *d.opts.only:
		return nil, fmt.Errorf("registry: the directory has service %q alone, not %q (see WithService)", *d.opts.only, service)
	}
	return (*d.shown.Load())[service], nil
}

// Watch yields those of whom Pick takes one, by ID: first as they are now, and then at each change, of which several in a row may be one
// set; nobody is an empty set. With an error it ends: ctx has, or the Directory is closed. It costs no request.
func (d *Directory) Watch(ctx context.Context, service string) iter.Seq2[[]Entry, error] {
	return func(yield func([]Entry, error) bool) {
		var last *listing
		for first := true; ; first = false {
			d.mu.Lock()
			news := d.news
			d.mu.Unlock()
			l, err := d.listing(ctx, service)
			switch {
			case err != nil:
				yield(nil, err)
				return
			case l == last && !first:
			default:
				if last = l; !yield(l.pickable(), nil) {
					return
				}
			}
			select {
			case <-news:
			case <-ctx.Done():
			case <-d.ended:
			}
		}
	}
}

// Services are the names of those that somebody offers, sorted.
func (d *Directory) Services() []string {
	return slices.Sorted(maps.Keys(*d.shown.Load()))
}

// Healthy is nil while the copy is current, as far as can be known, and else says since when it is not, and why.
func (d *Directory) Healthy() error {
	if d.closed.Load() {
		return errClosed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trouble == nil && !d.heard {
		return errors.New("registry: the directory shows its snapshot: etcd has not been heard of yet")
	}
	if d.trouble != nil {
		return fmt.Errorf("registry: the directory may be out of date, since %s: %w", d.since.Format(time.RFC3339), d.trouble)
	}
	return nil
}

// Close ends it. A second Close does nothing.
func (d *Directory) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	close(d.ended)
	d.cancel()
	d.loops.Wait()
	return nil
}
