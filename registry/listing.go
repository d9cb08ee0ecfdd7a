package registry

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/fenceline/fenceline/internal/chance"
)

// listing is what is shown of a service. It is never written to.
type listing struct {
	entries []*Entry // sorted by ID; the same ones as in the listing before, as far as they have not changed
	picks   []pick

	once sync.Once
	list []Entry // the entries, for callers; made when the first asks
}

// listingOf is newListing of entries that are no others'.
func listingOf(entries []Entry, zone string) *listing {
	shared := make([]*Entry, len(entries))
	for i := range entries {
		shared[i] = &entries[i]
	}
	return newListing(shared, zone)
}

// pickable are those that are drawn from. There is no listing of a service that nobody offers.
func (l *listing) pickable() []Entry {
	if l == nil {
		return nil
	}
	entries := make([]Entry, len(l.picks))
	for i, p := range l.picks {
		entries[i] = *l.entries[p.at]
	}
	return entries
}

func (l *listing) all() []Entry {
	l.once.Do(func() {
		l.list = make([]Entry, len(l.entries))
		for i, e := range l.entries {
			l.list[i] = *e
		}
	})
	return l.list
}

// pick is an instance that may be picked, with the sum of the weights up to it.
type pick struct {
	at  int32
	sum int64
}

// newListing lists whom to pick from: those that are Up, and of them, if anybody is in this zone, those that are. Stale ones are
// like the others: whoever is distrusted for vanishing is thought to be there.
func newListing(entries []*Entry, zone string) *listing {
	l := &listing{entries: entries, picks: make([]pick, 0, len(entries))}
	best, sum := 0, int64(0)
	for i, e := range entries {
		rank := rankOf(e, zone)
		if rank > best {
			best, sum, l.picks = rank, 0, l.picks[:0]
		}
		if rank == best && rank > 0 {
			sum += int64(e.Weight)
			l.picks = append(l.picks, pick{int32(i), sum})
		}
	}
	return l
}

func rankOf(e *Entry, zone string) int {
	rank := 1
	if e.Status != Up {
		return 0
	}
	if zone != "" && e.Zone == zone {
		rank++
	}
	return rank
}

// Pick is one of those who are Up, at random, by weight; of this process's zone, if WithZone says which that is, as long
// as anybody there is Up. Those that are shown as Stale are picked as before. ErrNoInstance: there is nobody.
func (d *Directory) Pick(ctx context.Context, service string) (Instance, error) {
	l, err := d.listing(ctx, service)
	switch {
	case err != nil:
		return Instance{}, err
	case l == nil:
		return Instance{}, fmt.Errorf("%w of %q", ErrNoInstance, service)
	case len(l.picks) == 0:
		return Instance{}, fmt.Errorf("%w of %q is up, of %d", ErrNoInstance, service, len(l.entries))
	}
	return l.entries[l.picks[l.draw()].at].Instance, nil
}

func (l *listing) draw() int {
	r := chance.N(l.picks[len(l.picks)-1].sum)
	i, _ := slices.BinarySearchFunc(l.picks, r+1, func(p pick, r int64) int { return cmp.Compare(p.sum, r) })
	return i
}
