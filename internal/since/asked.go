package since

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/keyspace"
	"github.com/fenceline/fenceline/internal/mirror"
)

// ear hears of requests to give something back that is held under one lease. There is one while something has been held for a second: it costs a
// watch.
type ear struct {
	book     *Book
	prefix   string
	follower *mirror.Follower
	marks    map[int64]*Mark // by create revision; guarded by the book's mutex
}

// request is the key under which the holder of m is asked.
func (m *Mark) request() string {
	return keyspace.Asked(m.book.keeper.Namespace, m.lease) + strconv.FormatInt(m.note.Revision, 10)
}

// listen and deafen are called with the book's mutex held.
func (b *Book) listen(m *Mark) {
	if m.listens || m.asked == nil || time.Now().Before(b.deaf) {
		return
	}
	m.listens = true
	e := b.ears[m.lease]
	if e == nil {
		e = &ear{book: b, prefix: keyspace.Asked(b.keeper.Namespace, m.lease), marks: map[int64]*Mark{}}
		b.ears[m.lease] = e
		e.follower = mirror.Follow(b.keeper, mirror.Prefix(e.prefix), e)
	}
	e.marks[m.note.Revision] = m
}

func (b *Book) deafen(m *Mark) {
	e := b.ears[m.lease]
	if !m.listens || e == nil {
		return
	}
	m.listens = false
	delete(e.marks, m.note.Revision)
	if len(e.marks) == 0 {
		delete(b.ears, m.lease)
		b.keeper.Go(func(context.Context) { e.follower.Stop() }) // which waits for calls that are under way, and they for mutexes
	}
}

// Load, Apply, Trouble and Idle are called by the follower.
func (e *ear) Load(_ int64, kvs []*mvccpb.KeyValue) {
	for _, kv := range kvs {
		e.hear(kv)
	}
}

func (e *ear) Apply(events []*mvccpb.Event) {
	for _, ev := range events {
		if ev.Type == mvccpb.Event_PUT {
			e.hear(ev.Kv)
		}
	}
}

// Trouble gives it up for a while, if etcd refuses: a role need not be allowed to read requests.
func (e *ear) Trouble(err error) {
	if !etcd.Final(err) {
		return
	}
	e.book.mu.Lock()
	defer e.book.mu.Unlock()
	e.book.deaf = time.Now().Add(refused)
	for _, m := range e.marks {
		e.book.deafen(m)
	}
}

// Idle: who asks sees that nothing happens, and may ask again.
func (e *ear) Idle() bool { return true }

func (e *ear) hear(kv *mvccpb.KeyValue) {
	revision, err := strconv.ParseInt(strings.TrimPrefix(string(kv.Key), e.prefix), 10, 64)
	var r keeper.Request
	if err != nil || json.Unmarshal(kv.Value, &r) != nil {
		return
	}
	e.book.mu.Lock()
	m := e.marks[revision]
	tell := m != nil && !m.heard
	if tell {
		m.heard = true
	}
	e.book.mu.Unlock()
	if tell {
		m.asked(r)
	}
}

var _ mirror.Idler = (*ear)(nil)
