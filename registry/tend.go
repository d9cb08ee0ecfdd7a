package registry

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/mirror"
)

// follow keeps the copy until ctx ends.
func (d *Directory) follow(ctx context.Context, r *mirror.Range) {
	err := r.Follow(ctx, directoryCopy{d})
	if err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.final = true
	d.troubled(r.Explain(err))
}

// directoryCopy is the Directory as follow keeps it up to date. Who is missed may have said that it leaves.
type directoryCopy struct{ *Directory }

func (d directoryCopy) Misses(kvs []*mvccpb.KeyValue) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.heard {
		return false // what there is comes from a file
	}
	listed := make(map[string]bool, len(kvs))
	for _, kv := range kvs {
		listed[string(kv.Key)] = true
	}
	for service, ms := range d.services {
		for _, m := range *ms {
			if m.gone.IsZero() && !listed[d.opts.serviceAt(service)+m.entry.ID] {
				return true
			}
		}
	}
	return false
}

func (d directoryCopy) Load(_ int64, kvs []*mvccpb.KeyValue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	listed := map[string]map[string]bool{}
	for _, kv := range kvs {
		if service, id, ok := d.put(kv); ok {
			if listed[service] == nil {
				listed[service] = map[string]bool{}
			}
			listed[service][id] = true
		}
	}
	for service, ms := range d.services {
		for _, m := range slices.Clone(*ms) {
			switch id := m.entry.ID; {
			case listed[service][id]:
			case d.heard:
				ms.vanish(id, now)
			case len(listed) == 0: // etcd has nothing at all: it was wiped, or all leases have ended
				ms.vanish(id, now)
			default: // from a file, whatever its age
				ms.remove(id)
			}
		}
	}
	d.heard, d.trouble, d.fed = true, nil, d.fed || len(listed) > 0
	d.show(maps.Keys(d.services), now)
}

func (d directoryCopy) Apply(events []*mvccpb.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	touched := map[string]bool{}
	for _, ev := range events {
		service, id, ok := parseKey(d.opts.prefix, string(ev.Kv.Key))
		if ev.Type == mvccpb.Event_DELETE {
			d.bad.forget(string(ev.Kv.Key))
		}
		switch {
		case !ok:
			continue
		case ev.Type != mvccpb.Event_DELETE:
			d.put(ev.Kv)
		case d.services[service] != nil:
			d.services[service].vanish(id, now)
		}
		touched[service] = true
	}
	d.show(maps.Keys(touched), now)
}

func (d directoryCopy) Trouble(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.troubled(err)
}

func (d *Directory) troubled(err error) {
	if d.trouble == nil {
		d.since = time.Now()
		d.opts.log.Warn("directory may be out of date", "error", err)
	}
	d.trouble = err
	d.tell()
}

func (d *Directory) tell() {
	close(d.news)
	d.news = make(chan struct{})
}

// put takes an entry. What does not parse takes the place of what did.
func (d *Directory) put(kv *mvccpb.KeyValue) (service, id string, ok bool) {
	service, in, err := parse(d.opts.prefix, kv)
	if err != nil {
		d.bad.note(string(kv.Key), err)
		if service, id, ok := parseKey(d.opts.prefix, string(kv.Key)); ok {
			if ms := d.services[service]; ms != nil {
				ms.remove(id)
			}
		}
		return "", "", false
	}
	ms := d.services[service]
	if ms == nil {
		ms = &members{}
		d.services[intern(service)] = ms
	}
	ms.put(in)
	d.fed = true
	return service, in.ID, true
}

// show settles services, and shows them.
func (d *Directory) show(services iter.Seq[string], now time.Time) {
	shown := maps.Clone(*d.shown.Load())
	for service := range services {
		delete(d.again, service)
		ms := d.services[service]
		if ms == nil { // it had nobody, and what came cannot be read, or is somebody's leaving
			continue
		}
		if again := ms.settle(d.opts.keeping, now); !again.IsZero() {
			d.again[service] = again
		}
		if len(*ms) == 0 {
			delete(d.services, service)
		}
		if entries := ms.entries(); len(entries) > 0 {
			shown[service] = newListing(entries, d.opts.zone)
		} else {
			delete(shown, service)
		}
	}
	d.shown.Store(&shown)
	d.dirty = true
	d.tell()
}

// saveEvery is the least time between two writes of the file.
const saveEvery = 5 * time.Second

// tend does what time brings, until ctx ends: it stops showing what was kept for long enough, and writes the file.
func (d *Directory) tend(ctx context.Context) {
	saved := time.Time{}
	defer func() { d.save() }()
	for {
		d.mu.Lock()
		news, wait := d.news, d.nextChore(saved)
		d.mu.Unlock()
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-news:
			t.Stop()
		case <-t.C:
		}
		d.settleDue(time.Now())
		if time.Since(saved) >= saveEvery && d.save() {
			saved = time.Now()
		}
	}
}

// nextChore is how long nothing needs to be done.
func (d *Directory) nextChore(saved time.Time) time.Duration {
	wait := time.Hour
	for _, at := range d.again {
		wait = min(wait, time.Until(at))
	}
	if d.dirty && d.fed && d.opts.file != "" {
		wait = min(wait, time.Until(saved.Add(saveEvery)))
	}
	return max(wait, 0)
}

func (d *Directory) settleDue(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var due []string
	for service, at := range d.again {
		if !now.Before(at) {
			due = append(due, service)
		}
	}
	if len(due) > 0 {
		d.show(slices.Values(due), now)
	}
}
