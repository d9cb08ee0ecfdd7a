package meter

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Reading is what a Meter has counted up to a moment, and what is so at that moment.
type Reading struct {
	Lines         []Line // in order
	Jobs          []JobReading
	Services      []Service // in order
	Requests      map[Request]uint64
	Renewals      Histogram
	RenewFailures uint64
	Epochs        uint64
}

// Line is one series.
type Line struct {
	Key
	Waits     map[Wait]*Histogram
	HandOvers map[Path]*Histogram
	Released  Histogram
	Lost      Histogram
	LostBy    map[Reason]uint64
	Overrun   time.Duration
	Now
}

// Wait is how one has ended: Path is of those that were granted.
type Wait struct {
	Outcome
	Path
}

// Now is what holds and waits at a moment.
type Now struct {
	Held, Waiting          int64 // of a semaphore, units
	OldestHold, OldestWait time.Duration
}

// Service is how many instances of it the Session wants to register, and how many of these stand.
type Service struct {
	Name         string
	Want, Stands int
}

// JobReading is what was counted of a job.
type JobReading struct {
	Name         string
	Delays, Runs Histogram
	Outcomes     map[RunOutcome]uint64
	Missed       uint64
	LastSuccess  time.Time // zero: there was none
	Running      int64
}

// Census is what holds and waits now, by series. It is asked for when somebody reads.
type Census struct {
	now map[Key]*Now
	in  map[string]*Service
}

// Hold counts one hold, of so many units, so old.
func (c *Census) Hold(of Key, units int64, age time.Duration) {
	n := c.of(of)
	n.Held += units
	n.OldestHold = max(n.OldestHold, age)
}

// Wait counts one wait.
func (c *Census) Wait(of Key, units int64, age time.Duration) {
	n := c.of(of)
	n.Waiting += units
	n.OldestWait = max(n.OldestWait, age)
}

// Registration counts one.
func (c *Census) Registration(service string, stands bool) {
	s, ok := c.in[service]
	if !ok {
		if len(c.in) >= MostNames {
			return
		}
		s = &Service{Name: service}
		c.in[service] = s
	}
	s.Want++
	if stands {
		s.Stands++
	}
}

func (c *Census) of(k Key) *Now {
	n, ok := c.now[k]
	if !ok {
		n = &Now{}
		c.now[k] = n
	}
	return n
}

// Read reads, and asks each of those for what is so now.
func (m *Meter) Read(census ...func(*Census)) *Reading {
	c := &Census{now: map[Key]*Now{}, in: map[string]*Service{}}
	for _, ask := range census {
		ask(c)
	}
	m.mu.Lock()
	series, jobs := maps.Clone(m.series), maps.Clone(m.jobs)
	m.mu.Unlock()
	r := &Reading{RenewFailures: m.failures.Load(), Epochs: m.epochs.Load()}
	r.Renewals.add(&m.renewals)
	for _, s := range c.in {
		r.Services = append(r.Services, *s)
	}
	slices.SortFunc(r.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	r.Requests = m.requests.read()
	for k := range c.now {
		if series[k] == nil {
			series[k] = &Series{}
		}
	}
	for k, s := range series {
		l := s.read(k)
		if n := c.now[k]; n != nil {
			l.Now = *n
		}
		r.Lines = append(r.Lines, l)
	}
	slices.SortFunc(r.Lines, func(a, b Line) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	for name, j := range jobs {
		r.Jobs = append(r.Jobs, j.read(name))
	}
	slices.SortFunc(r.Jobs, func(a, b JobReading) int { return strings.Compare(a.Name, b.Name) })
	return r
}

func (s *Series) read(k Key) Line {
	l := Line{Key: k, Waits: map[Wait]*Histogram{}, HandOvers: map[Path]*Histogram{}, LostBy: map[Reason]uint64{}}
	for _, sh := range s.shards {
		for i := range sh.waits {
			w := Wait{Path: Path(i)}
			if i >= int(paths) {
				w = Wait{Outcome: Outcome(i - int(paths) + 1)}
			}
			addTo(l.Waits, w, sh.waits[i].Load())
		}
		for i := range sh.handOvers {
			addTo(l.HandOvers, Path(i), sh.handOvers[i].Load())
		}
		l.Released.add(sh.released.Load())
		l.Lost.add(sh.lost.Load())
		for i := range sh.lostBy {
			l.LostBy[Reason(i)] += sh.lostBy[i].Load()
		}
		l.Overrun += time.Duration(sh.overrun.Load())
	}
	return l
}

func addTo[K comparable](to map[K]*Histogram, k K, h *histogram) {
	if h == nil {
		return
	}
	if to[k] == nil {
		to[k] = &Histogram{}
	}
	to[k].add(h)
}

func (j *Job) read(name string) JobReading {
	r := JobReading{Name: name, Missed: j.missed.Load(), Running: j.running.Load(), Outcomes: map[RunOutcome]uint64{Erred: j.failed.Load(), TimedOut: j.timeouts.Load(), ClaimLost: j.lost.Load()}}
	r.Delays.add(&j.delays)
	r.Runs.add(&j.runs)
	r.Outcomes[Succeeded] = r.Runs.Count - min(r.Runs.Count, r.Outcomes[Erred]+r.Outcomes[TimedOut]+r.Outcomes[ClaimLost])
	if at := j.success.Load(); at != 0 {
		r.LastSuccess = time.Unix(0, at)
	}
	return r
}

// Granted is how many calls got what they wanted.
func (l *Line) Granted() (n uint64) {
	for w, h := range l.Waits {
		if w.Outcome == Granted {
			n += h.Count
		}
	}
	return n
}
