package fencetest

import (
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/fenceline/fenceline/fencetest/internal/store"
)

// transcript is what happened, in order. A line is put into words only when somebody reads it.
type transcript struct {
	lines []line
	upTo  int64 // revision up to which events are in it
}

type line struct {
	at    time.Duration
	who   string
	words func() string
}

func (t *transcript) add(at time.Duration, who string, words func() string) {
	t.lines = append(t.lines, line{at, who, words})
}

func (t *transcript) note(at time.Duration, who, format string, args ...any) {
	t.add(at, who, func() string { return fmt.Sprintf(format, args...) })
}

// events takes those that are new.
func (t *transcript) events(at time.Duration, s *store.Store) {
	all := func([]byte) bool { return true }
	for _, ev := range s.Events(max(t.upTo, 1)+1, s.Revision(), all) {
		t.add(at, fmt.Sprintf("rev %d", ev.Revision), func() string { return wordsOf(ev.Event) })
	}
	t.upTo = s.Revision()
}

func (t *transcript) restored(at time.Duration, s *store.Store) {
	t.note(at, "etcd", "is restored to revision %d", s.Revision())
	t.upTo = s.Revision()
}

func (t *transcript) told(at time.Duration, node string, resp *pb.WatchResponse) {
	t.add(at, node, func() string {
		switch {
		case resp.Created && resp.Canceled:
			return "  is refused a watch: " + resp.CancelReason
		case resp.Created:
			return fmt.Sprintf("  watch %d stands", resp.WatchId)
		case resp.CompactRevision > 0:
			return fmt.Sprintf("  watch %d ends: compacted at %d", resp.WatchId, resp.CompactRevision)
		case resp.Canceled:
			return fmt.Sprintf("  watch %d ends", resp.WatchId)
		case len(resp.Events) == 0:
			return fmt.Sprintf("  all watches have told up to %d", resp.Header.Revision)
		}
		var words []string
		for _, ev := range resp.Events {
			words = append(words, wordsOf(ev))
		}
		return fmt.Sprintf("  watch %d tells of %d: %s", resp.WatchId, resp.Events[0].Kv.ModRevision, strings.Join(words, "; "))
	})
}

func wordsOf(ev *mvccpb.Event) string {
	if ev.Type == mvccpb.Event_DELETE {
		return "delete " + string(ev.Kv.Key)
	}
	s := fmt.Sprintf("put %s = %s", ev.Kv.Key, shorten(string(ev.Kv.Value)))
	if ev.Kv.Lease != 0 {
		s += fmt.Sprintf(" under %x", ev.Kv.Lease)
	}
	return s
}

func shorten(s string) string {
	if len(s) > 60 {
		return s[:57] + "…"
	}
	return s
}

func (e *Etcd) note(who, format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.note(e.now(), who, format, args...)
}

func (e *Etcd) asked(node string, number int, method string, r proto.Message, fate Fate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if fate != (Fate{}) {
		for _, name := range fate.names() {
			e.faults[name]++
		}
	}
	e.script.add(e.now(), node, func() string {
		s := fmt.Sprintf("#%d %s %s", number, method, requestWords(r))
		if f := fate.String(); f != "" {
			s += " [" + f + "]"
		}
		return s
	})
}

func (e *Etcd) answered(node string, number int, resp any, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.script.add(e.now(), node, func() string {
		if err != nil {
			return fmt.Sprintf("  #%d fails: %v", number, err)
		}
		return fmt.Sprintf("  #%d %s", number, responseWords(resp))
	})
}

func requestWords(r proto.Message) string {
	switch r := r.(type) {
	case *pb.RangeRequest:
		return rangeWords(r.Key, r.RangeEnd)
	case *pb.PutRequest:
		return string(r.Key) + " = " + shorten(string(r.Value))
	case *pb.DeleteRangeRequest:
		return rangeWords(r.Key, r.RangeEnd)
	case *pb.LeaseGrantRequest:
		return fmt.Sprintf("%x for %d s", r.ID, r.TTL)
	case *pb.LeaseRevokeRequest:
		return fmt.Sprintf("%x", r.ID)
	case *pb.LeaseKeepAliveRequest:
		return fmt.Sprintf("%x", r.ID)
	case *pb.WatchCreateRequest:
		return fmt.Sprintf("%s from %d", rangeWords(r.Key, r.RangeEnd), r.StartRevision)
	case *pb.WatchCancelRequest:
		return fmt.Sprint(r.WatchId)
	case *pb.TxnRequest:
		return txnWords(r)
	}
	return ""
}

func rangeWords(from, end []byte) string {
	switch {
	case len(end) == 0:
		return string(from)
	case len(end) == 1 && end[0] == 0:
		return fmt.Sprintf("%s and on", from)
	}
	return fmt.Sprintf("%s to %s", from, end)
}

func txnWords(r *pb.TxnRequest) string {
	var b strings.Builder
	for i, c := range r.Compare {
		if b.WriteString([]string{"if ", " and "}[min(i, 1)]); true {
			signs := map[pb.Compare_CompareResult]string{pb.Compare_EQUAL: "=", pb.Compare_NOT_EQUAL: "≠", pb.Compare_GREATER: ">", pb.Compare_LESS: "<"}
			var to any
			switch u := c.TargetUnion.(type) {
			case *pb.Compare_Version:
				to = u.Version
			case *pb.Compare_CreateRevision:
				to = u.CreateRevision
			case *pb.Compare_ModRevision:
				to = u.ModRevision
			case *pb.Compare_Value:
				to = shorten(string(u.Value))
			case *pb.Compare_Lease:
				to = fmt.Sprintf("%x", u.Lease)
			}
			fmt.Fprintf(&b, "%s(%s) %s %v", strings.ToLower(c.Target.String()), rangeWords(c.Key, c.RangeEnd), signs[c.Result], to)
		}
	}
	b.WriteString(" then " + opsWords(r.Success))
	if len(r.Failure) > 0 {
		b.WriteString(" else " + opsWords(r.Failure))
	}
	return strings.TrimSpace(b.String())
}

func opsWords(ops []*pb.RequestOp) string {
	var words []string
	for _, op := range ops {
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			words = append(words, "get "+requestWords(o.RequestRange))
		case *pb.RequestOp_RequestPut:
			words = append(words, "put "+requestWords(o.RequestPut))
		case *pb.RequestOp_RequestDeleteRange:
			words = append(words, "delete "+requestWords(o.RequestDeleteRange))
		case *pb.RequestOp_RequestTxn:
			words = append(words, "("+txnWords(o.RequestTxn)+")")
		}
	}
	return strings.Join(words, ", ")
}

func responseWords(resp any) string {
	switch r := resp.(type) {
	case *pb.TxnResponse:
		return fmt.Sprintf("%s at %d", map[bool]string{true: "then", false: "else"}[r.Succeeded], r.Header.Revision)
	case *pb.RangeResponse:
		return fmt.Sprintf("%d keys at %d", r.Count, r.Header.Revision)
	case *pb.PutResponse:
		return fmt.Sprintf("done at %d", r.Header.Revision)
	case *pb.DeleteRangeResponse:
		return fmt.Sprintf("%d deleted at %d", r.Deleted, r.Header.Revision)
	case *pb.LeaseGrantResponse:
		return fmt.Sprintf("lease %x for %d s", r.ID, r.TTL)
	case *pb.LeaseKeepAliveResponse:
		return fmt.Sprintf("lease %x: %d s", r.ID, r.TTL)
	}
	return "done"
}

// Transcript is all that happened, a line each: when, since the start; who, or at which revision; what.
func (e *Etcd) Transcript() string {
	e.mu.Lock()
	lines := e.script.lines[:len(e.script.lines):len(e.script.lines)]
	e.mu.Unlock()
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%12.6fs  %-10s %s\n", l.at.Seconds(), l.who, l.words())
	}
	return b.String()
}

// Event is a change of a key.
type Event struct {
	Revision int64
	*mvccpb.Event
}

// Events are all since the start, or since the backup that was restored.
func (e *Etcd) Events() (all []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.store.Events(1, e.store.Revision(), func([]byte) bool { return true }) {
		all = append(all, Event{ev.Revision, ev.Event})
	}
	return all
}

// Faults counts what became of requests, by name: "lost", "answer lost", "broken", "too late", "delayed", "answer delayed".
func (e *Etcd) Faults() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]int{}
	for name, n := range e.faults {
		all[name] = n
	}
	return all
}
