package line

import (
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/queue"
)

func at(key string, create int64) queue.Entry {
	return queue.Entry{Key: key, Create: create, Mod: create, Lease: 7}
}

func put(key string, create, mod int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte(key), CreateRevision: create, ModRevision: mod}}
}

func del(key string, mod int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: mod}}
}

func TestViewKeepsUpAndIgnoresWhatItKnows(t *testing.T) {
	v := &view{rev: 10, entries: []queue.Entry{at("a", 4), at("b", 9)}}
	v.apply([]*mvccpb.Event{del("a", 7), put("z", 9, 9)}) // older than the list
	v.apply([]*mvccpb.Event{del("a", 11), put("c", 11, 11)})
	v.apply([]*mvccpb.Event{put("b", 9, 12)})
	v.apply([]*mvccpb.Event{del("b", 13), put("b", 14, 14)})
	v.apply([]*mvccpb.Event{del("nobody", 15)})
	v.apply([]*mvccpb.Event{put("b", 9, 12)}) // again
	want := []queue.Entry{at("c", 11), at("b", 14)}
	if v.rev != 15 || len(v.entries) != 2 || v.entries[0].Key != want[0].Key || !queue.Same(v.entries[1], want[1]) {
		t.Errorf("at %d: %+v", v.rev, v.entries)
	}
}
