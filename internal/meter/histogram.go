package meter

import (
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Scale of a histogram's buckets: each is 2^(1/8) times as wide as the one before, as in Prometheus's native histograms of schema 3, and in
// OpenTelemetry's exponential ones of scale 3.
const Scale = 3

const (
	perOctave = 1 << Scale
	lowest    = -20 * perOctave // the first bucket ends at 2^-20 s: a microsecond
	highest   = 12 * perOctave  // and the last one that has an end, at 2^12 s: over an hour
	fine      = highest - lowest + 2
)

// Bounds are those of the classic buckets: from less than one proposal of etcd's to a shift.
var Bounds = [...]time.Duration{
	100 * time.Microsecond, 300 * time.Microsecond, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond,
	100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second,
	2 * time.Minute, 10 * time.Minute, time.Hour,
}

// A fine bucket in which a classic one ends is kept as two cells, so that both kinds of buckets come from one count.
const cells = fine + len(Bounds)

var (
	mantissas [perOctave]uint64   // upper ends within an octave, as the fraction of a float64
	guess     [1 << 8]uint8       // by a mantissa's first bits: the first of these that may be the one
	firstCell [fine]uint16        // of each fine bucket
	splits    [fine]time.Duration // what is longer belongs to its second cell; the largest number: it has none
	fineOf    [cells]uint16       // the bucket of a cell
	classicOf [cells]uint8        // and the classic one; len(Bounds): it is longer than all
)

func init() {
	const fraction = 1<<52 - 1
	for i := range perOctave - 1 {
		mantissas[i] = math.Float64bits(math.Exp2(float64(i+1)/perOctave)) & fraction
	}
	mantissas[perOctave-1] = fraction + 1 // the next octave's beginning
	for i := range guess {
		at := uint64(i) << 44
		for mantissas[guess[i]] < at {
			guess[i]++
		}
	}
	classic, cell := 0, 0
	for i := range fine {
		firstCell[i], splits[i] = uint16(cell), math.MaxInt64
		fineOf[cell], classicOf[cell] = uint16(i), uint8(classic)
		cell++
		if classic < len(Bounds) && fineBucket(Bounds[classic]) == i {
			splits[i] = Bounds[classic]
			classic++
			fineOf[cell], classicOf[cell] = uint16(i), uint8(classic)
			cell++
		}
	}
}

// fineBucket is the index of the fine bucket of d, whose upper end belongs to it.
func fineBucket(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	bits := math.Float64bits(float64(d) * 1e-9)
	octave := int(bits>>52) - 1023
	fraction := bits & (1<<52 - 1)
	i := octave * perOctave // ends at 2^octave, which has no fraction
	if fraction > 0 {
		k := int(guess[fraction>>44])
		if fraction > mantissas[k] {
			k++
		}
		i += k + 1
	}
	return min(max(i-lowest, 0), fine-1)
}

func cellOf(d time.Duration) int {
	b := fineBucket(d)
	c := int(firstCell[b])
	if d > splits[b] {
		c++
	}
	return c
}

// histogram counts durations. Its methods may be called at the same time.
type histogram struct {
	counts [cells]atomic.Uint64
	sum    atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	if d <= 0 { // where nobody waits, most often
		h.counts[0].Add(1)
		return
	}
	h.counts[cellOf(d)].Add(1)
	h.sum.Add(int64(d))
}

// brief counts n durations that belong to the first cell.
func (h *histogram) brief(n uint64, sum time.Duration) {
	h.counts[0].Add(n)
	h.sum.Add(int64(sum))
}

// Histogram is what was counted up to some moment.
type Histogram struct {
	Sum   time.Duration
	Count uint64
	fine  []uint64 // nil: nothing
	upTo  [len(Bounds)]uint64
}

// add adds what h has counted.
func (s *Histogram) add(h *histogram) {
	if h == nil {
		return
	}
	if s.fine == nil {
		s.fine = make([]uint64, fine)
	}
	s.Sum += time.Duration(h.sum.Load())
	for i := range h.counts {
		n := h.counts[i].Load()
		if n == 0 {
			continue
		}
		s.Count += n
		s.fine[fineOf[i]] += n
		for c := int(classicOf[i]); c < len(Bounds); c++ {
			s.upTo[c] += n
		}
	}
}

// Add adds what another has.
func (s *Histogram) Add(other *Histogram) {
	s.Sum += other.Sum
	s.Count += other.Count
	if s.fine == nil {
		s.fine = slices.Clone(other.fine)
	} else {
		for i, n := range other.fine {
			s.fine[i] += n
		}
	}
	for i, n := range other.upTo {
		s.upTo[i] += n
	}
}

// UpTo is how many were not longer than each of Bounds.
func (s *Histogram) UpTo() [len(Bounds)]uint64 { return s.upTo }

// Exponential calls yield with each bucket of Scale that has counted anything: the i-th ends at 2^(i/8) s, which belongs to it. The first one
// takes in all that is shorter, and the last one all that is longer.
func (s *Histogram) Exponential(yield func(i int, n uint64)) {
	for i, n := range s.fine {
		if n > 0 {
			yield(i+lowest, n)
		}
	}
}
