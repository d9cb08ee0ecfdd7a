package barrier

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/fenceline/fenceline/internal/etcd"
)

// entry is a party that is in, waiting or inside a round.
type entry struct {
	key    string
	create int64
	value  string // the number of parties it wants
}

// round is one that was full. In are the create revisions of its entries, which nothing else in etcd shares.
type round struct {
	Number int64   `json:"round"`
	In     []int64 `json:"in"`
}

// record is what is published, one for all rounds of a name. Each record follows from the one before.
type record struct {
	Round   int64   `json:"round"`            // the newest that was full
	Through int64   `json:"through"`          // entries created up to here belong to rounds that are over or full
	Here    bool    `json:"here,omitempty"`   // Through is the revision of this record, which its writer cannot know
	Broken  bool    `json:"broken,omitempty"` // with Here: nobody's entry came with this record
	Rounds  []round `json:"rounds,omitempty"` // newest last; older ones only while somebody stands in them

	mod int64 // revision of the record; 0: there is none
}

func decode(kv *mvccpb.KeyValue) (record, error) {
	var r record
	if err := json.Unmarshal(kv.Value, &r); err != nil || r.Here && !r.Broken && len(r.Rounds) == 0 {
		return r, etcd.Settled(fmt.Errorf("%q holds %.40q, which is no record of rounds", kv.Key, kv.Value))
	}
	r.mod = kv.ModRevision
	if r.Here {
		r.Through = r.mod
		if !r.Broken {
			last := &r.Rounds[len(r.Rounds)-1]
			last.In = append(last.In, r.mod)
		}
	}
	r.Here, r.Broken = false, false
	// A record is younger than all that it speaks of. One that is not was copied from another etcd: what it says of revisions
	// that are yet to come must not be taken for ours.
	r.Through = min(r.Through, r.mod)
	for i := range r.Rounds {
		r.Rounds[i].In = slices.DeleteFunc(r.Rounds[i].In, func(create int64) bool { return create > r.mod })
	}
	return r, nil
}

func (r record) encode() string {
	text, _ := json.Marshal(r) // numbers only
	return string(text)
}

// snapshot is what stands under a name at one revision.
type snapshot struct {
	rev    int64
	record record
	in     []entry // in order of arrival
}

// waiting are those whose round is not full yet.
func (s snapshot) waiting() []entry {
	i, _ := slices.BinarySearchFunc(s.in, s.record.Through+1, func(e entry, c int64) int { return cmp.Compare(e.create, c) })
	return s.in[i:]
}

func (s snapshot) stands(create int64) bool {
	return slices.ContainsFunc(s.in, func(e entry) bool { return e.create == create })
}

type verdict int

const (
	wait   verdict = iota
	full           // the round is, and nobody has said so yet
	passed         // it was published
	broken
	gone // own entry is not there
)

// judge says what has become of the entry created at me. What the record says of it stays true for ever, also after
// the entry has gone.
func (s snapshot) judge(me int64, parties int) (verdict, round) {
	for _, r := range s.record.Rounds {
		if slices.Contains(r.In, me) {
			return passed, r
		}
	}
	switch {
	case !s.stands(me):
		return gone, round{}
	case me <= s.record.Through:
		return broken, round{}
	case len(s.waiting()) >= parties:
		return full, round{}
	}
	return wait, round{}
}

// fill is the record after those of the next round: the first in order of arrival. With here, one of them is yet to
// come, by the transaction that writes this record.
func (s snapshot) fill(parties int, here bool) (next record, by []entry) {
	if here {
		parties--
	}
	by = s.waiting()[:parties]
	r := round{Number: s.record.Round + 1, In: make([]int64, len(by))}
	for i, e := range by {
		r.In[i] = e.create
	}
	next = record{Round: r.Number, Here: here, Rounds: append(s.stillIn(), r)}
	if !here {
		next.Through = r.In[len(by)-1]
	}
	return next, by
}

// breakUp is the record after everybody who waits was turned away.
func (s snapshot) breakUp() record {
	return record{Round: s.record.Round, Here: true, Broken: true, Rounds: s.stillIn()}
}

// stillIn are the rounds in which somebody stands, and who: a party that hears late of its round finds it there.
func (s snapshot) stillIn() []round {
	var rounds []round
	for _, r := range s.record.Rounds {
		in := slices.DeleteFunc(slices.Clone(r.In), func(c int64) bool { return !s.stands(c) })
		if len(in) > 0 {
			rounds = append(rounds, round{r.Number, in})
		}
	}
	return rounds
}

// departed says whether somebody but me, who waited in s, is not there in next although his round did not get full.
func (s snapshot) departed(next snapshot, me int64) bool {
	for _, e := range s.waiting() {
		if e.create != me && e.create > next.record.Through && !next.stands(e.create) {
			return true
		}
	}
	return false
}

// take adds what stands in etcd under a key.
func (s *snapshot) take(at *place, kv *mvccpb.KeyValue) (err error) {
	key := string(kv.Key)
	switch {
	case key == at.record:
		s.record, err = decode(kv)
	case strings.HasPrefix(key, at.in):
		e := entry{key, kv.CreateRevision, string(kv.Value)}
		i, found := slices.BinarySearchFunc(s.in, e.create, func(e entry, c int64) int { return cmp.Compare(e.create, c) })
		if !found {
			s.in = slices.Insert(s.in, i, e)
		}
	}
	return err
}

func (s *snapshot) drop(at *place, key string) {
	if key == at.record {
		s.record = record{}
	}
	s.in = slices.DeleteFunc(s.in, func(e entry) bool { return e.key == key })
}

// apply is the snapshot after events that a watch told.
func (s snapshot) apply(at *place, events []*mvccpb.Event) (snapshot, error) {
	s.in = slices.Clone(s.in)
	for _, ev := range events {
		if ev.Kv.ModRevision <= s.rev {
			continue
		}
		if ev.Type == mvccpb.Event_DELETE {
			s.drop(at, string(ev.Kv.Key))
		} else if err := s.take(at, ev.Kv); err != nil {
			return s, err
		}
	}
	if n := len(events); n > 0 { // all events of a revision come in one answer
		s.rev = max(s.rev, events[n-1].Kv.ModRevision)
	}
	return s, nil
}
