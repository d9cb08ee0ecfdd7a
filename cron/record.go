package cron

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// What stands in etcd of one job, under <namespace>cron/<job>/:
//
//	claim/<slot>  a tick that is running: its claim's ID, under the lease of its runner's Session
//	record        the rest, without a lease
//	run/<nn>      the last runs, by the number of the run modulo keep
//
// One range, [claim/, run/), covers what a Scheduler needs to know.
const (
	claims = "claim/"
	main   = "record"
	runs   = "run/"
)

const (
	keep    = 20  // runs per job
	maxOpen = 64  // ticks of one job that run at once
	maxErr  = 512 // bytes of an error's text
)

// record is the state of a job that outlives its runners.
type record struct {
	Schedule string    `json:"schedule"`
	Zone     string    `json:"zone"`
	Last     time.Time `json:"last"`            // all ticks up to this one have been dealt with
	Told     time.Time `json:"told,omitzero"`   // those up to this one that nobody has run were told of
	By       string    `json:"by,omitempty"`    // who claimed last
	Claim    string    `json:"claim,omitempty"` // and by which claim
	Runs     int64     `json:"runs"`            // that have ended
	Paused   *Pause    `json:"paused,omitempty"`
	Asked    *asked    `json:"asked,omitempty"` // a run that somebody wants now
	Open     []open    `json:"open,omitempty"`
	Latest   *Run      `json:"latest,omitempty"`
}

// asked is a run beside the schedule.
type asked struct {
	ID string    `json:"id"`
	At time.Time `json:"at"` // by the clock of whoever asked
	By string    `json:"by,omitempty"`
}

// open is a tick that was started and is not done: it runs as long as its claim stands, or waits for another attempt.
type open struct {
	Scheduled time.Time `json:"scheduled"`
	Attempt   int       `json:"attempt"` // from 1; of one that waits, the next
	Retries   int       `json:"retries,omitempty"`
	Claim     string    `json:"claim,omitempty"` // ID; empty while it waits
	Slot      int       `json:"slot,omitempty"`
	By        string    `json:"by,omitempty"`
	Started   time.Time `json:"started,omitzero"`
	Asked     string    `json:"asked,omitempty"`  // it is no tick, but a run that somebody wanted: the ID of that
	Failed    string    `json:"failed,omitempty"` // it waits because the attempt with this claim failed; empty: its runner went
}

// claim is a claim's key as it stands in etcd.
type claim struct {
	id             string
	create, modify int64
	lease          int64
}

// state is what is known of a job as of a revision. It is not changed once it is shared; apply makes the next.
type state struct {
	revision int64
	modified int64 // of the record; 0: there is none
	record   record
	broken   error // the record cannot be read
	claims   map[int]claim
}

// listed is the state in the answer to a range.
func listed(prefix string, revision int64, kvs []*mvccpb.KeyValue) state {
	s := state{revision: revision, claims: map[int]claim{}}
	for _, kv := range kvs {
		s.put(prefix, kv)
	}
	return s
}

// apply is the state after events that were not known yet.
func (s state) apply(prefix string, events []*mvccpb.Event) state {
	next := s
	next.claims = map[int]claim{}
	for slot, c := range s.claims {
		next.claims[slot] = c
	}
	for _, ev := range events {
		if ev.Kv.ModRevision <= s.revision {
			continue
		}
		next.revision = ev.Kv.ModRevision
		if ev.Type == mvccpb.Event_DELETE {
			next.remove(prefix, string(ev.Kv.Key))
		} else {
			next.put(prefix, ev.Kv)
		}
	}
	return next
}

// ErrUnreadable: what etcd has of a job cannot be read. Nobody runs it until that is deleted: ForgetJob, or fenceline cron rm.
var ErrUnreadable = errors.New("cron: the job's record cannot be read, delete it (fenceline cron rm)")

func (s *state) put(prefix string, kv *mvccpb.KeyValue) {
	rest := strings.TrimPrefix(string(kv.Key), prefix)
	if slot, ok := slotOf(rest); ok {
		s.claims[slot] = claim{string(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Lease}
	}
	if rest == main {
		s.modified, s.record, s.broken = kv.ModRevision, record{}, nil
		if err := json.Unmarshal(kv.Value, &s.record); err != nil {
			s.record, s.broken = record{}, fmt.Errorf("%w: %q: %w", ErrUnreadable, kv.Key, err)
		}
		s.record.sober()
	}
}

// sober makes the best of numbers that no Scheduler writes: somebody else may, or copy a record from elsewhere.
func (r *record) sober() {
	r.Runs = max(r.Runs, 0)
	for i := range r.Open {
		o := &r.Open[i]
		o.Attempt, o.Retries = max(o.Attempt, 1), max(o.Retries, 0)
		if o.Slot < 0 {
			o.Slot, o.Claim = 0, ""
		}
		if o.Claim == "" { // what waits is another attempt
			o.Attempt = max(o.Attempt, 2)
		}
	}
}

func (s *state) remove(prefix, key string) {
	rest := strings.TrimPrefix(key, prefix)
	if slot, ok := slotOf(rest); ok {
		delete(s.claims, slot)
	}
	if rest == main {
		s.modified, s.record, s.broken = 0, record{}, nil
	}
}

func slotOf(rest string) (int, bool) {
	var slot int
	number, ok := strings.CutPrefix(rest, claims)
	if !ok {
		return 0, false
	}
	_, err := fmt.Sscan(number, &slot)
	return slot, err == nil && claimKey(slot) == rest
}

func claimKey(slot int) string { return fmt.Sprintf("%s%d", claims, slot) }
func runKey(n int64) string    { return fmt.Sprintf("%s%02d", runs, n%keep) }

// stands says whether o's claim does.
func (s *state) stands(o open) bool { return o.Claim != "" && s.claims[o.Slot].id == o.Claim }

func (s *state) isOpen(id string) bool {
	return slices.ContainsFunc(s.record.Open, func(o open) bool { return o.Claim == id })
}

// freeSlot is the lowest that neither a claim nor an open tick has.
func (s *state) freeSlot() int {
	for slot := 0; ; slot++ {
		_, taken := s.claims[slot]
		if !taken && !slices.ContainsFunc(s.record.Open, func(o open) bool { return o.Claim != "" && o.Slot == slot }) {
			return slot
		}
	}
}

// started is the record once o has been claimed: the tick that waits, or a new one.
func (r record) started(o open) record {
	r.Open = slices.Clone(r.Open)
	same := func(w open) bool { return w.Claim == "" && w.Scheduled.Equal(o.Scheduled) && w.Asked == o.Asked }
	if i := slices.IndexFunc(r.Open, same); i >= 0 {
		r.Open[i] = o
	} else {
		r.Open = append(r.Open, o)
	}
	r.By, r.Claim = o.By, o.Claim
	if o.Asked == "" {
		r.Last = latest(r.Last, o.Scheduled)
	} else if r.Asked != nil && r.Asked.ID == o.Asked {
		r.Asked = nil
	}
	return r
}

// missed is the record once it was told that ticks were missed, the newest of which is run's. They may be run all the same: whoever
// tells may have a clock that is ahead.
func (r record) missed(run Run) record {
	r.Told = latest(r.Told, run.Scheduled)
	r.Runs++
	r.Latest = &run
	return r
}

// dealt is up to when all ticks have been run, or told of.
func (r record) dealt() time.Time { return latest(r.Last, r.Told) }

// ended is the record once an attempt is over: with its run, and with another attempt waiting if it failed and has
// retries left.
func (r record) ended(o open, run Run, gone bool) record {
	r.Open = slices.DeleteFunc(slices.Clone(r.Open), func(other open) bool { return other.Claim == o.Claim })
	if run.Err != "" && o.Attempt <= o.Retries {
		again := open{Scheduled: o.Scheduled, Attempt: o.Attempt + 1, Retries: o.Retries, Asked: o.Asked}
		if !gone {
			again.Failed = o.Claim
		}
		r.Open = append(r.Open, again)
	}
	if o.Asked == "" {
		r.Last = latest(r.Last, o.Scheduled) // somebody may have deleted the record meanwhile
	}
	r.Runs++
	r.Latest = &run
	return r
}
