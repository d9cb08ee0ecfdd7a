// Package pprof shows where a program waits for locks, and where it holds them, in Go's profiles.
//
//	waits := pprof.New()
//	s, err := session.Open(ctx, client, session.WithTrace(waits.Trace()))
//	…
//	http.Handle("/debug/pprof/fenceline", waits) // beside net/http/pprof
//
//	go tool pprof http://localhost:6060/debug/pprof/fenceline          # where it waits, and for how long
//	go tool pprof http://localhost:6060/debug/pprof/fenceline.holders  # where what is held now was acquired
//	go tool pprof http://localhost:6060/debug/pprof/fenceline.waiters  # where calls wait now
//
// The first one is to locks in etcd what Go's own "mutex" profile is to those in memory: of each stack it has how often calls from there had to
// wait, and the nanoseconds. Each sample has the labels kind and name. session.WithProfileLabels is the other half: it has the CPU
// profile tell under which lock the time went.
//
// A call that does not wait costs an entry in two profiles, about a microsecond each; one that waits also costs its stack.
package pprof

import (
	"context"
	"net/http"
	"runtime"
	runtimepprof "runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"

	"github.com/fenceline/fenceline/session"
)

// Profiles gathers waits. One may serve several Sessions.
type Profiles struct {
	holders, waiters *runtimepprof.Profile
	since            time.Time

	mu    sync.Mutex
	waits map[key]*sample
}

const maxDepth = 64

// mostSamples is how many stacks and names are told apart. What comes after them counts by its kind alone.
const mostSamples = 10_000

type key struct {
	kind, name string
	stack      [maxDepth]uintptr
}

type sample struct {
	count int64
	delay time.Duration
	depth int
}

// New returns profiles that are empty, but for the two of what is so now: these are the program's, and shared.
func New() *Profiles {
	return &Profiles{holders: shared("fenceline.holders"), waiters: shared("fenceline.waiters"), since: time.Now(), waits: map[key]*sample{}}
}

var sharing sync.Mutex

func shared(name string) *runtimepprof.Profile {
	sharing.Lock()
	defer sharing.Unlock()
	if p := runtimepprof.Lookup(name); p != nil {
		return p
	}
	return runtimepprof.NewProfile(name)
}

type callKey struct{}

// Trace is for session.WithTrace.
func (p *Profiles) Trace() *session.Trace {
	// The profiles' stacks begin with the hook's caller's caller.
	return &session.Trace{
		WaitStart: func(ctx context.Context, _ session.Wait) context.Context {
			c := new(byte)
			p.waiters.Add(c, 2)
			return context.WithValue(ctx, callKey{}, c)
		},
		WaitEnd: func(ctx context.Context, w session.Wait, e session.WaitEnd) {
			c, ok := ctx.Value(callKey{}).(*byte)
			if !ok {
				return
			}
			p.waiters.Remove(c)
			if e.Err == nil {
				p.holders.Add(c, 2)
			}
			if e.Waited > 0 && (e.Path != "free" || e.Err != nil) {
				p.waited(w, e.Waited)
			}
		},
		HoldEnd: func(ctx context.Context, _ session.Wait, _ session.HoldEnd) {
			if c, ok := ctx.Value(callKey{}).(*byte); ok {
				p.holders.Remove(c)
			}
		},
	}
}

// waited counts a wait, by the stack of whoever called the library.
func (p *Profiles) waited(w session.Wait, d time.Duration) {
	k := key{kind: w.Kind, name: w.Name}
	n := runtime.Callers(3, k.stack[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.waits[k]
	if !ok {
		if len(p.waits) >= mostSamples {
			k, n = key{kind: w.Kind}, 0
			s = p.waits[k]
		}
		if s == nil {
			s = &sample{depth: n}
			p.waits[k] = s
		}
	}
	s.count++
	s.delay += d
}

// ServeHTTP writes the profile of waits, since the beginning, or within the next so many seconds (?seconds=30). Compressed protobuf, or text
// with ?debug=1.
func (p *Profiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	since, before := p.since, map[key]sample(nil)
	if text := r.FormValue("seconds"); text != "" {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds > 0 && seconds <= 3600) {
			http.Error(w, "seconds="+strconv.Quote(text)+": want a number above 0, 3600 at most", http.StatusBadRequest)
			return
		}
		since, before = time.Now(), p.copy()
		select {
		case <-time.After(time.Duration(seconds * float64(time.Second))):
		case <-r.Context().Done():
			return
		}
	}
	made := p.profile(since, before)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if debug := r.FormValue("debug"); debug != "" && debug != "0" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(made.String()))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="fenceline.pb.gz"`)
	_ = made.Write(w) // the reader has gone
}

func (p *Profiles) copy() map[key]sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[key]sample, len(p.waits))
	for k, s := range p.waits {
		all[k] = *s
	}
	return all
}

// profile is what was counted, less what had been before.
func (p *Profiles) profile(since time.Time, before map[key]sample) *profile.Profile {
	made := &profile.Profile{
		SampleType:        []*profile.ValueType{{Type: "contentions", Unit: "count"}, {Type: "delay", Unit: "nanoseconds"}},
		DefaultSampleType: "delay",
		PeriodType:        &profile.ValueType{Type: "contentions", Unit: "count"},
		Period:            1,
		TimeNanos:         since.UnixNano(),
		DurationNanos:     int64(time.Since(since)),
	}
	at := locations{of: made, functions: map[string]*profile.Function{}, locations: map[uintptr]*profile.Location{}}
	for k, s := range p.copy() {
		s.count -= before[k].count
		s.delay -= before[k].delay
		if s.count == 0 {
			continue
		}
		labels := map[string][]string{"kind": {k.kind}}
		if k.name != "" {
			labels["name"] = []string{k.name}
		}
		made.Sample = append(made.Sample, &profile.Sample{Location: at.stack(k.stack[:s.depth]), Value: []int64{s.count, int64(s.delay)}, Label: labels})
	}
	slices.SortFunc(made.Sample, func(a, b *profile.Sample) int { return int(max(min(b.Value[1]-a.Value[1], 1), -1)) })
	return made
}

// locations names program counters.
type locations struct {
	of        *profile.Profile
	functions map[string]*profile.Function
	locations map[uintptr]*profile.Location
}

// stack begins with the method that was called, whatever the library does inside.
func (l *locations) stack(pcs []uintptr) (stack []*profile.Location) {
	for i, pc := range pcs {
		loc := l.location(pc)
		if i > 0 && len(stack) == 1 && ours(stack[0]) && ours(loc) {
			stack[0] = loc
			continue
		}
		stack = append(stack, loc)
	}
	return stack
}

func ours(l *profile.Location) bool {
	const module = "github.com/fenceline/fenceline/"
	name := l.Line[len(l.Line)-1].Function.Name
	return strings.HasPrefix(name, module) && !strings.Contains(name, "_test.") && !strings.HasPrefix(name, module+"cmd/")
}

func (l *locations) location(pc uintptr) *profile.Location {
	if loc, ok := l.locations[pc]; ok {
		return loc
	}
	loc := &profile.Location{ID: uint64(len(l.of.Location) + 1), Address: uint64(pc)}
	l.locations[pc] = loc
	l.of.Location = append(l.of.Location, loc)
	frames := runtime.CallersFrames([]uintptr{pc})
	for {
		frame, more := frames.Next()
		f, ok := l.functions[frame.Function]
		if !ok {
			f = &profile.Function{ID: uint64(len(l.of.Function) + 1), Name: frame.Function, SystemName: frame.Function, Filename: frame.File}
			l.functions[frame.Function] = f
			l.of.Function = append(l.of.Function, f)
		}
		loc.Line = append(loc.Line, profile.Line{Function: f, Line: int64(frame.Line)})
		if !more {
			return loc
		}
	}
}
