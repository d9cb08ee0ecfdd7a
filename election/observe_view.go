package election

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/keeper"
)

// checkEvery is how often etcd is asked whether the watch has missed something; in truth up to half as long again.
const checkEvery = 5 * time.Second

var (
	errMute = errors.New("election: no answer to a request to watch")
	errDeaf = errors.New("election: the watch misses events")
)

// view is what one watch has told. The watch's goroutine writes into it and never waits for the consumer, who reads
// the latest: there is no backlog, however slow the consumer is.
type view struct {
	wake chan struct{} // something below has changed

	mu       sync.Mutex
	created  bool
	standing standing
	err      error // why the watch has ended
}

func (v *view) change(f func()) {
	v.mu.Lock()
	f()
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Created, Events and Ended are called by the stream.
func (v *view) Created(int64)                 { v.change(func() { v.created = true }) }
func (v *view) Events(events []*mvccpb.Event) { v.change(func() { v.standing.apply(events) }) }
func (v *view) Ended(err error)               { v.change(func() { v.end(err) }) }

// end keeps the first reason.
func (v *view) end(err error) {
	if v.err == nil {
		v.err = err
	}
}

// now is the leader as far as is known, and why nothing more will be.
func (v *view) now() (Leader, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	leader, _ := v.standing.leader()
	return leader, v.err
}

func (v *view) opened() (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.created, v.err
}

// open waits for the watch, which starts from now (etcd serves one from a past revision on a tick of 100 ms), and then
// reads the list. The read is linearizable: so it is not older than the watch, and not older than anything that an
// earlier watch has told, from whichever member that came. That is why an observer never goes back.
func (o *observer) open(ctx context.Context, v *view) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		created, err := v.opened()
		if err != nil {
			return err
		}
		if created {
			break
		}
		select {
		case <-v.wake:
		case <-late.C: // the connection stands, and nobody is at the other end
			o.stream.Restart()
			return errMute
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// In time, since meanwhile events pile up.
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := o.persist(soon, o.all())
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.standing.list(resp.Header.Revision, resp.Kvs)
	return nil
}

// check reads the head of the line now and then, until ctx ends: a connection that has died in silence, or a member
// that hangs, tells nothing. Any member may answer, since an answer that is behind proves nothing. It may also come
// before the events that say the same; then a watch is opened again for nothing, at the price of one read.
func (o *observer) check(ctx context.Context, v *view) {
	req := o.head()
	req.Serializable = true
	for {
		t := time.NewTimer(checkEvery + rand.N(checkEvery/2))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		resp, err := o.persist(ctx, req)
		switch {
		case err == nil && v.missed(resp.Header.Revision, resp.Kvs):
			o.stream.Restart()
			v.Ended(errDeaf)
			return
		case keeper.Final(err):
			v.Ended(err)
			return
		}
	}
}

func (v *view) missed(rev int64, head []*mvccpb.KeyValue) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.standing.missed(rev, head)
}
