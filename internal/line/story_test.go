package line

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fenceline/fenceline/internal/etcd"
	"github.com/fenceline/fenceline/internal/keeper"
	"github.com/fenceline/fenceline/internal/queue"
)

// story is a machine, with names for those who use it.
type story struct {
	t     *testing.T
	out   *strings.Builder
	m     *machine
	now   time.Duration
	stale bool // the lease is
	lost  error
	quiet bool // the watch stream is not heard of
	slots int
	names []string
	calls map[string]*waiter
	fates map[chan error]string
	edits map[*edit]string
	views []*view
	asked *request
	gone  *attempt // whose end is being asked about
}

func (s *story) alive() bool                               { return !s.quiet }
func (s *story) silence() time.Duration                    { return 5 * time.Second }
func (s *story) jitter(d time.Duration) time.Duration      { return d }
func (s *story) pause(b etcd.Backoff, n int) time.Duration { return b.First << (n - 1) }

func (s *story) spot(i int, lease clientv3.LeaseID) spot {
	s.slots++
	return spot{lease: lease, key: fmt.Sprintf("%s%s%d", s.m.tracks[i].prefix, s.m.tracks[i].policy.Dir, s.slots)}
}

var policies = map[string]queue.Policy{"mutex": queue.Mutex, "reader": queue.Reader, "writer": queue.Writer, "two": roomForTwo, "candidate": candidate}

var roomForTwo = queue.Policy{
	Values: true, Departures: true, Dir: "line/", Beside: "l/limit",
	Horizon: func() int { return 2 },
	Fits:    func(count int64, _ []queue.Entry) bool { return count <= 2 },
	Alone:   func([]queue.Entry) bool { return false },
	Blocker: func(ahead []queue.Entry) int {
		if len(ahead) < 2 {
			return -1
		}
		return len(ahead) - 1
	},
	Entered: func(line []queue.Entry) int { return min(len(line), 2) },
}

// candidate steps aside for entries with a value, after a while.
var candidate = queue.Policy{
	Whole: true, Blocker: queue.Mutex.Blocker, Entered: queue.Mutex.Entered,
	Yields: func(line []queue.Entry, mine queue.Entry) queue.Yielding {
		if slices.ContainsFunc(line, func(e queue.Entry) bool { return e.Create > mine.Create && len(e.Value) > 0 }) {
			return queue.YieldsNext
		}
		return queue.Stays
	},
}

// run runs one command.
func (s *story) run(words []string) {
	s.t.Helper()
	if words[0] == "line" || words[0] == "set" {
		s.begin(words)
		return
	}
	switch what := words[0]; what {
	case "at":
		s.now = s.duration(words[1])
		s.step(&event{what: onTick})
	case "answer":
		s.answer(words[1:])
	case "watch":
		s.watch(words[1:])
	case "lease":
		s.lease(words[1])
	case "stream":
		s.quiet = words[1] == "silent"
		s.step(&event{what: onTick})
	case "reason":
		var err error
		if words[1] == "revoked" {
			err = keeper.ErrRevoked
		}
		s.step(&event{what: onReason, a: s.gone, err: err})
	case "session":
		s.step(&event{what: onClose, err: keeper.ErrClosed})
	default:
		s.call(what, words[1], words[2:])
	}
}

func (s *story) begin(words []string) {
	s.m = &machine{world: s, private: words[0] == "set"}
	*s = story{t: s.t, out: s.out, m: s.m, calls: map[string]*waiter{}, fates: map[chan error]string{}, edits: map[*edit]string{}}
	s.m.world = s
	prefixes := []string{"l/"}
	policy := policies["mutex"]
	if s.m.private {
		prefixes = words[1:]
		if p, ok := policies[words[1]]; ok {
			policy, prefixes = p, []string{"e/"}
		}
	} else {
		policy = policies[words[1]]
	}
	for _, prefix := range prefixes {
		s.m.tracks = append(s.m.tracks, track{ref: &Ref{Name: strings.TrimSuffix(prefix, "/"), Policy: policy}, policy: policy, prefix: prefix,
			end: clientv3.GetPrefixRangeEnd(prefix), opts: &Options{}})
	}
}

// call is what somebody does.
func (s *story) call(name, verb string, words []string) {
	w := s.calls[name]
	switch verb {
	case "wants", "tries":
		w = &waiter{opts: s.options(words), try: verb == "tries"}
		s.calls[name] = w
		if !slices.Contains(s.names, name) {
			s.names = append(s.names, name)
		}
		if s.m.private {
			s.m.tracks[0].opts = w.opts
		}
		s.step(&event{what: onWant, w: w})
	case "leaves":
		s.step(&event{what: onCancel, w: w})
	case "releases":
		if w.hold == nil {
			s.t.Fatalf("%s does not hold:\n%s", name, s.out)
		}
		at := moment{now: s.now, fresh: !s.stale, lost: s.lost}
		effects := s.m.step(at, &event{what: onRelease, h: w.hold})
		if s.m.fate != nil {
			s.fates[s.m.fate] = name
		}
		s.print(effects)
	case "exposes":
		w.hold.expose()
		s.print(nil)
	case "token":
		w.hold.lookAtToken()
		s.say("token %d, turn %d", w.hold.token.Revision(), w.hold.token.Turn())
	case "rewrites", "demotes":
		e := &edit{demote: verb == "demotes", done: make(chan error, 1), over: make(chan struct{}), value: queue.ReadValue}
		if !e.demote {
			e.value = words[0]
		}
		s.edits[e] = name
		s.step(&event{what: onChange, h: w.hold, edit: e})
	default:
		s.t.Fatalf("%s %s?", name, verb)
	}
}

func (s *story) options(words []string) *Options {
	o := &Options{}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "handoffs":
			o.Handoffs, _ = strconv.Atoi(value)
		case "most":
			o.MaxWaiters, _ = strconv.Atoi(value)
		case "linger":
			o.Linger = s.duration(value)
		case "hold":
			o.MinHold = s.duration(value)
		case "delay":
			o.TakeoverDelay = s.duration(value)
		default:
			s.t.Fatalf("%s?", word)
		}
	}
	return o
}

func (s *story) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *story) lease(state string) {
	s.stale, s.lost = state == "stale", nil
	switch state {
	case "expires":
		s.lost = keeper.ErrExpired
	case "revoked":
		s.lost = keeper.ErrRevoked
	}
	s.step(&event{what: onTick})
	s.lost = nil
}

// entries reads "KEY@CREATE", with ":VALUE" perhaps, from words; "own" is the entry of the attempt.
func (s *story) entries(words []string) (entries []queue.Entry) {
	for _, word := range words {
		if word == "own" {
			for i := range s.m.attempt.spots {
				entries = append(entries, s.m.attempt.spots[i].entry)
			}
			continue
		}
		word, value, _ := strings.Cut(word, ":")
		key, rev, ok := strings.Cut(word, "@")
		create, err := strconv.ParseInt(rev, 10, 64)
		if !ok || err != nil {
			s.t.Fatalf("entry %q?", word)
		}
		entries = append(entries, queue.Entry{Key: key, Create: create, Mod: create, Lease: 99, Value: []byte(value)})
	}
	return entries
}

var failures = map[string]error{
	"lost":    status.Error(codes.Unavailable, "the connection broke"),
	"denied":  rpctypes.ErrPermissionDenied,
	"full":    rpctypes.ErrNoSpace,
	"taken":   errSlot,
	"gone":    keeper.ErrEntryGone,
	"others":  errOthers,
	"nolease": rpctypes.ErrLeaseNotFound,
	"refused": refusal{errors.New("the limit is another")},
}

// answer answers the request that is under way: with how it failed, or at a revision with entries.
func (s *story) answer(words []string) {
	r, x := s.asked, &answer{}
	if r == nil {
		s.t.Fatal("nothing was asked")
	}
	s.asked = nil
	if r.a != nil {
		x.unknown = r.a.unknown
	}
	if err, failed := failures[words[0]]; failed {
		x.err, x.explained = err, err
		x.unknown = x.unknown || r.kind == askJoin && words[0] == "lost"
		x.deleteUnknown = words[0] == "lost"
		x.foreign = []bool{errors.Is(err, errSlot)}
		if len(words) > 1 {
			x.revision, _ = strconv.ParseInt(words[1], 10, 64)
			entries := s.entries(words[2:])
			x.seen = []seen{{known: true, count: int64(len(entries)), entries: entries}}
		}
		s.step(&event{what: onAnswer, req: r, ans: x})
		return
	}
	if words[0] == "ok" {
		words = words[1:]
	} else if n, err := strconv.ParseInt(words[0], 10, 64); err == nil {
		x.revision, words = n, words[1:]
	}
	switch r.kind {
	case askLease:
		x.epoch = &keeper.Epoch{}
		x.leases = make([]clientv3.LeaseID, len(s.m.tracks))
		for i := range x.leases {
			x.leases[i] = 7
		}
	case askJoin:
		s.joined(r, x, words)
	case askLeave:
		x.unknown = false
	case askDeath:
		x.died = slices.Contains(words, "died")
	case askRewrite:
		x.mod = x.revision
	case askConfirm, askSurvey:
		if x.still = slices.Contains(words, "unchanged"); !x.still {
			x.entries = s.entries(words)
		}
	}
	s.step(&event{what: onAnswer, req: r, ans: x})
}

// joined is of an enqueue that took effect, or had: who else is in each line, separated by "|". "adopted" tells nothing of them.
func (s *story) joined(r *request, x *answer, words []string) {
	lines := strings.Split(strings.Join(words, " "), "|")
	for i := range r.a.spots {
		p := &r.a.spots[i]
		mine := queue.Entry{Key: p.key, Create: x.revision, Mod: x.revision, Lease: p.lease, Value: []byte(s.m.tracks[i].policy.Value)}
		x.entries = append(x.entries, mine)
		there := strings.Fields(lines[min(i, len(lines)-1)])
		var in seen
		switch {
		case slices.Contains(there, "adopted"):
		default:
			in = seen{known: true, entries: append(s.entries(there), mine)}
			in.count = int64(len(in.entries))
			in.look = r.looks[i]
			if in.look == lookCount {
				in.entries = nil
			}
		}
		x.seen = append(x.seen, in)
	}
}

// watch is what the stream tells of the view that was opened last, or of the n-th if the first word is a number.
func (s *story) watch(words []string) {
	n := len(s.views)
	if i, err := strconv.Atoi(words[0]); err == nil {
		n, words = i, words[1:]
	}
	if n > len(s.views) {
		s.t.Fatalf("%d views:\n%s", len(s.views), s.out)
	}
	v := s.views[n-1]
	ev := &event{view: v}
	var rev int64
	if len(words) > 1 {
		rev, _ = strconv.ParseInt(words[1], 10, 64)
	}
	switch words[0] {
	case "opens":
		ev.what, ev.revision = onOpened, rev
	case "lists":
		ev.what, ev.revision, ev.asked, ev.entries = onListed, rev, rev, s.entries(words[2:])
	case "fails":
		ev.what, ev.err = onListed, failures["lost"]
	case "ends":
		ev.what, ev.err = onEnded, failures["lost"]
	case "tells":
		ev.what = onEvents
		for _, word := range words[2:] {
			if key, gone := strings.CutPrefix(word, "-"); gone {
				ev.events = append(ev.events, &mvccpb.Event{Type: mvccpb.Event_DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}})
				continue
			}
			e := s.entries([]string{word})[0]
			ev.events = append(ev.events, &mvccpb.Event{Type: mvccpb.Event_PUT, Kv: &mvccpb.KeyValue{Key: []byte(e.Key), CreateRevision: e.Create, ModRevision: rev, Lease: int64(e.Lease), Value: e.Value}})
		}
	}
	s.step(ev)
}

func (s *story) step(ev *event) {
	s.print(s.m.step(moment{now: s.now, fresh: !s.stale, lost: s.lost}, ev))
}
