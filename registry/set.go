package registry

import (
	"log/slog"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// set is the instances of a service, by key.
type set struct {
	prefix string
	in     map[string]Instance
	bad    badEntries
}

func newSet(o options) *set {
	return &set{prefix: o.prefix, in: map[string]Instance{}, bad: badEntries{log: o.log}}
}

func (s *set) load(kvs []*mvccpb.KeyValue) {
	clear(s.in)
	for _, kv := range kvs {
		s.put(kv)
	}
}

func (s *set) apply(events []*mvccpb.Event) {
	for _, ev := range events {
		if ev.Type == mvccpb.Event_DELETE {
			delete(s.in, string(ev.Kv.Key))
			s.bad.forget(string(ev.Kv.Key))
		} else {
			s.put(ev.Kv)
		}
	}
}

// put takes an entry, if it is one: what strangers have put there neither hides others nor stops anything.
func (s *set) put(kv *mvccpb.KeyValue) {
	key := string(kv.Key)
	_, in, err := parse(s.prefix, kv)
	if err == nil {
		s.in[key] = in
		return
	}
	delete(s.in, key)
	s.bad.note(key, err)
}

// list is the whole set, sorted, which is the caller's own.
func (s *set) list() []Instance {
	return sorted(slices.AppendSeq(make([]Instance, 0, len(s.in)), maps.Values(s.in)))
}

// byService is the same for each service of which there are instances.
func (s *set) byService() map[string][]Instance {
	all := map[string][]Instance{}
	for key, in := range s.in {
		service, _, _ := parseKey(s.prefix, key) // or it would not be there
		all[service] = append(all[service], in)
	}
	for _, ins := range all {
		sorted(ins)
	}
	return all
}

// maxBad bounds how many of them are remembered.
const maxBad = 1000

// badEntries are keys of entries that do not parse: each is logged once, as long as it is there.
type badEntries struct {
	log  *slog.Logger
	keys map[string]bool
}

func (b *badEntries) note(key string, err error) {
	if b.keys[key] || len(b.keys) >= maxBad {
		return
	}
	if b.keys == nil {
		b.keys = map[string]bool{}
	}
	b.keys[key] = true
	b.log.Warn("entry kept out", "key", key, "error", err, "so far", len(b.keys))
}

func (b *badEntries) forget(key string) { delete(b.keys, key) }
